//! [`KurtosisLoss`](bitnet_burn::loss::KurtosisLoss) against its definition in `f64`.

use bitnet_burn::loss::KurtosisLoss;
use burn::tensor::{DType, Device, Tensor};

use crate::support::{loss_reference::*, values::*};

/// Standardized values, and the standard deviation.
fn standardized(weight: &[f64]) -> (Vec<f64>, f64) {
    let n = weight.len() as f64;
    let mean = weight.iter().sum::<f64>() / n;
    let sigma = (weight.iter().map(|w| (w - mean).powi(2)).sum::<f64>() / n).sqrt();
    (weight.iter().map(|w| (w - mean) / sigma).collect(), sigma)
}

fn moment(z: &[f64], power: i32) -> f64 {
    z.iter().map(|z| z.powi(power)).sum::<f64>() / z.len() as f64
}

fn reference(weight: &[f64], target: f64) -> Reference {
    let (z, sigma) = standardized(weight);
    let (skewness, kurtosis) = (moment(&z, 3), moment(&z, 4));
    let factor = 8.0 * (kurtosis - target) / (weight.len() as f64 * sigma);
    let slope = |z: &f64| factor * (z.powi(3) - skewness - z * kurtosis);
    ((kurtosis - target).powi(2), z.iter().map(slope).collect())
}

/// Error bounds of the loss and of its gradient, in `f32`.
///
/// A deviation from the mean is off by at most `4 u max|w|`: that over sigma, and `(n + 8) u` of
/// the standard deviation, is the error `e` of a standardized value as a part of `max|z|`. Its
/// fourth power is off by four times as much, and `n + 4` roundings are those of the mean. The
/// gradient is a product of the distance to the target and of a sum of three terms of at most
/// `max|z|^3` or `max|z|` kurt, each of which has at most ten such factors.
fn bounds(weight: &[f64], target: f64) -> (f64, f64) {
    let n = weight.len() as f64;
    let (z, sigma) = standardized(weight);
    let max = |values: &[f64]| values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let (largest, kurtosis) = (max(&z), moment(&z, 4));
    let e = 4.0 * ROUNDING * max(weight) / sigma + (n + 8.0) * ROUNDING;
    let of_kurtosis = kurtosis * (4.0 * e * largest.max(1.0) + (n + 4.0) * ROUNDING);
    let distance = (kurtosis - target).abs();
    let terms = 2.0 * largest.powi(3) + largest * kurtosis;
    (
        2.0 * distance * of_kurtosis + of_kurtosis.powi(2) + 2.0 * ROUNDING * distance.powi(2),
        8.0 / (n * sigma) * terms * (of_kurtosis + 10.0 * e * distance),
    )
}

/// Returns values with a nonzero mean and the given standard deviation.
fn weights(n: usize, sigma: f32) -> Vec<f32> {
    let shifted = |v: f32| 10.0 * sigma * (v + 0.05);
    normal(n, 41).into_iter().map(shifted).collect()
}

fn check<const D: usize>(shape: [usize; D], sigma: f32) {
    let n = shape.iter().product();
    for target in [1.8, 3.0] {
        for dtype in float_types(&Device::default()) {
            let values = rounded(&weights(n, sigma), dtype);
            let loss = KurtosisLoss::new().with_target(target);
            let (value, gradient) = evaluate(&values, shape, dtype, |x| loss.forward(x));
            let values = wide(&values);
            let expected = reference(&values, target);
            let (bound, slope) = bounds(&values, target);
            let what = format!("{shape:?} {sigma} {target} {dtype:?}");
            assert_near(value, expected.0, bound, &what);
            assert_gradient(&gradient, &expected.1, dtype, |_| slope, &what);
        }
    }
}

#[test]
fn values_and_gradients_equal_the_reference() {
    check([33], 0.1);
    check([5, 7], 0.02);
    check([4, 3, 2, 2], 1.0);
}

#[test]
fn the_reference_has_the_slope_of_its_value() {
    assert_consistent(|w| reference(w, 1.8), &wide(&weights(12, 1.0)), 100.0);
}

#[test]
fn known_distributions_have_their_kurtosis() {
    let kurtosis = |values: &[f32]| {
        let weight = tensor(values, [values.len()], DType::F32, &Device::default());
        let target = 0.5;
        let loss = KurtosisLoss::new().with_target(target);
        (loss.forward(weight).into_scalar::<f32>() as f64).sqrt() + target
    };
    // n equally spaced values: (3 / 5) (3 n^2 - 7) / (n^2 - 1).
    let uniform: Vec<f32> = (0..64).map(|i| i as f32 / 64.0).collect();
    let n2 = 64f64 * 64.0;
    let expected = 0.6 * (3.0 * n2 - 7.0) / (n2 - 1.0);
    assert_near(kurtosis(&uniform), expected, 100.0 * ROUNDING, "uniform");
    assert_near(kurtosis(&[-3.0, 5.0]), 1.0, 100.0 * ROUNDING, "two values");
    assert_near(
        kurtosis(&[-2.0, 0.0, 0.0, 2.0]),
        2.0,
        100.0 * ROUNDING,
        "ternary",
    );
}

#[test]
fn tiny_weights_have_the_kurtosis_of_large_ones() {
    // Their fourth power overflows f32.
    let values = [-3e-11f32, 1e-11, 1e-11, 2e-11, -1e-11];
    let (value, gradient) = evaluate(&values, [5], DType::F32, |x| KurtosisLoss::new().forward(x));
    let values = wide(&values);
    let expected = reference(&values, 1.8);
    let (bound, slope) = bounds(&values, 1.8);
    assert_near(value, expected.0, bound, "loss");
    assert_gradient(&gradient, &expected.1, DType::F32, |_| slope, "tiny");
}

#[test]
fn equal_values_count_as_kurtosis_zero_and_have_no_gradient() {
    let expected = 1.8f32 * 1.8;
    for dtype in float_types(&Device::default()) {
        // Neither the sum of values 0.1 is exact, nor their mean.
        for (value, n) in [(0.0, 5), (0.1, 7), (-3.0, 33), (0.1, 1)] {
            let values = rounded(&vec![value; n], dtype);
            let (value, gradient) =
                evaluate(&values, [n], dtype, |x| KurtosisLoss::new().forward(x));
            let what = format!("{n} values {value} {dtype:?}");
            assert_near(value, expected as f64, 2.0 * ROUNDING * value, &what);
            assert_equal(&gradient, &vec![0.0; n], &what);
        }
    }
    let empty = Tensor::<2>::zeros([3, 0], &Device::default());
    let value = KurtosisLoss::new().forward(empty);
    let value = value.into_scalar::<f32>() as f64;
    assert_near(value, expected as f64, 2.0 * ROUNDING * value, "empty");
}

#[test]
#[should_panic(expected = "target kurtosis must be positive and finite, got -1")]
fn a_negative_target_is_refused() {
    let _ = KurtosisLoss::new().with_target(-1.0);
}
