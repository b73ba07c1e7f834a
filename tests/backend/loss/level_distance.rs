//! [`LevelDistanceLoss`](bitnet_burn::loss::LevelDistanceLoss) against its definition in `f64`.

use bitnet_burn::{
    functions::{Groups, ternary_fake_quant},
    loss::{Distance, LevelDistanceLoss},
};
use burn::tensor::{DType, Device, Tensor};

use crate::support::{loss_reference::*, values::*};

/// The loss with a constant quantized value.
fn reference(weight: &[f64], quantized: &[f64], distance: Distance) -> Reference {
    let n = weight.len() as f64;
    let differences: Vec<f64> = weight.iter().zip(quantized).map(|(w, q)| w - q).collect();
    let (value, slope): (Vec<f64>, Vec<f64>) = differences
        .iter()
        .map(|d| match distance {
            Distance::Absolute if *d == 0.0 => (0.0, 0.0),
            Distance::Absolute => (d.abs(), d.signum()),
            _ => (d * d, 2.0 * d),
        })
        .unzip();
    let mean = value.iter().sum::<f64>() / n;
    (mean, slope.iter().map(|s| s / n).collect())
}

/// Also checks that no gradient reaches the quantized value, although it depends on the weight.
fn check<const D: usize>(shape: [usize; D]) {
    let n: usize = shape.iter().product();
    for dtype in float_types(&Device::default()) {
        let values = rounded(&exactly_summable(n, 31), dtype);
        let weight = tensor(&values, shape, dtype, &Device::default());
        let quantized = floats(ternary_fake_quant(weight, Groups::per_tensor(n)).0);
        for distance in [Distance::Squared, Distance::Absolute] {
            let loss = LevelDistanceLoss::new().with_distance(distance);
            let (value, gradient) = evaluate(&values, shape, dtype, |weight| {
                let quantized = ternary_fake_quant(weight.clone(), Groups::per_tensor(n)).0;
                loss.forward(weight, quantized)
            });
            let expected = reference(&wide(&values), &wide(&quantized), distance);
            // A difference and its square have three roundings, a sum of positive terms one for each, the
            // mean one.
            let bound = (n + 4) as f64 * ROUNDING * expected.0;
            let what = format!("{shape:?} {dtype:?} {distance:?}");
            assert_near(value, expected.0, bound, &what);
            let bound = |i: usize| 4.0 * ROUNDING * f64::abs(expected.1[i]);
            assert_gradient(&gradient, &expected.1, dtype, bound, &what);
        }
    }
}

#[test]
fn values_and_gradients_equal_the_reference() {
    check([33]);
    check([5, 7]);
    check([2, 3, 2, 2]);
}

#[test]
fn the_references_have_the_slope_of_their_value() {
    let weight = wide(&normal(12, 32));
    let quantized: Vec<f64> = weight.iter().map(|w| (w * 10.0).round() / 10.0).collect();
    for distance in [Distance::Squared, Distance::Absolute] {
        assert_consistent(|w| reference(w, &quantized, distance), &weight, 1.0);
    }
}

#[test]
fn a_weight_at_its_levels_has_no_loss_and_no_gradient() {
    for distance in [Distance::Squared, Distance::Absolute] {
        let loss = LevelDistanceLoss::new().with_distance(distance);
        let levels = [1.0, -1.0, 0.0];
        let (value, gradient) = evaluate(&levels, [3], DType::F32, |weight| {
            loss.forward(weight.clone(), weight)
        });
        assert_eq!((value, gradient), (0.0, vec![0.0; 3]), "{distance:?}");
    }
}

#[test]
fn a_weight_of_no_values_has_no_loss() {
    let empty = Tensor::<2>::zeros([0, 4], &Device::default());
    let loss = LevelDistanceLoss::new();
    assert_eq!(loss.forward(empty.clone(), empty).into_scalar::<f32>(), 0.0);
}

#[test]
#[should_panic(expected = "a weight and its quantized value have one shape")]
fn a_quantized_value_of_another_shape_is_refused() {
    let device = Device::default();
    let weight = Tensor::<2>::zeros([2, 3], &device);
    let quantized = Tensor::<2>::zeros([3, 2], &device);
    LevelDistanceLoss::new().forward(weight, quantized);
}
