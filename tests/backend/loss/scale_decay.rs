//! [`ScaleDecayLoss`](bitnet_burn::loss::ScaleDecayLoss) against its definition in `f64`.

use bitnet_burn::loss::ScaleDecayLoss;
use burn::tensor::{Device, Tensor};

use crate::support::{loss_reference::*, values::*};

fn check<const D: usize>(shape: [usize; D]) {
    let n: usize = shape.iter().product();
    for dtype in float_types(&Device::default()) {
        let scales = rounded(&normal(n, 61), dtype);
        for coefficient in [1.0, 0.25, 0.0] {
            let loss = ScaleDecayLoss::new().with_coefficient(coefficient);
            let (value, gradient) = evaluate(&scales, shape, dtype, |x| loss.forward(x));
            let scales = wide(&scales);
            let squares: f64 = scales.iter().map(|s| s * s).sum();
            let expected = coefficient * squares / n as f64;
            let what = format!("{shape:?} {coefficient} {dtype:?}");
            // One rounding for each square and addition, for the mean and for the coefficient.
            assert_near(value, expected, (n + 3) as f64 * ROUNDING * expected, &what);
            let slope = |s: &f64| 2.0 * coefficient * s / n as f64;
            let expected: Vec<f64> = scales.iter().map(slope).collect();
            let bound = |i: usize| 4.0 * ROUNDING * f64::abs(expected[i]);
            assert_gradient(&gradient, &expected, dtype, bound, &what);
        }
    }
}

#[test]
fn values_and_gradients_equal_the_reference() {
    check([1]);
    check([7]);
    check([3, 4]);
}

#[test]
fn no_scales_have_no_loss() {
    let empty = Tensor::<2>::zeros([0, 3], &Device::default());
    let loss = ScaleDecayLoss::new().forward(empty);
    assert_eq!(loss.into_scalar::<f32>(), 0.0);
}

#[test]
#[should_panic(expected = "coefficient must be zero or above and finite, got NaN")]
fn a_coefficient_that_is_no_number_is_refused() {
    let _ = ScaleDecayLoss::new().with_coefficient(f64::NAN);
}
