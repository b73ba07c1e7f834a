//! [`L1Loss`] and [`SparsityTargetLoss`](bitnet_burn::loss::SparsityTargetLoss) against their
//! definitions in `f64`.

use bitnet_burn::{
    functions::{Groups, ternary_fake_quant},
    loss::{L1Loss, SparsityTargetLoss},
};
use burn::tensor::{DType, Device, Tensor};

use crate::support::{loss_reference::*, values::*};

fn mean_magnitude(weight: &[f64]) -> f64 {
    weight.iter().map(|w| w.abs()).sum::<f64>() / weight.len() as f64
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The loss with a constant `gamma`.
fn reference(weight: &[f64], gamma: f64, config: &SparsityTargetLoss) -> Reference {
    let n = weight.len() as f64;
    let width = config.temperature * gamma;
    let zero = |w: &f64| sigmoid((gamma / 2.0 - w.abs()) / width);
    let distance = weight.iter().map(zero).sum::<f64>() / n - config.target;
    let slope = |w: &f64| {
        let sign = if *w == 0.0 { 0.0 } else { w.signum() };
        let p = zero(w);
        -2.0 * distance * p * (1.0 - p) * sign / (n * width)
    };
    (distance * distance, weight.iter().map(slope).collect())
}

/// Error bounds of the loss and of its gradient, in `f32`.
///
/// `gamma` is off by `(n + 1) u`, so that the argument `a` of the sigmoid is off by at most
/// `(n + 8) u (|a| + 1 / temperature)`. The sigmoid has slope 1/4 or less, and an exponential in
/// it with `3 + 2 |a|` units in the last place: all in all an error of
/// `e = u ((n + 8) (|a| + 1 / temperature) + 4 |a| + 16)`. The estimate is a mean of these; the
/// gradient a product of it, of `p (1 - p)`, and of factors with `n + 8` roundings.
fn bounds(weight: &[f64], gamma: f64, config: &SparsityTargetLoss) -> (f64, f64) {
    let n = weight.len() as f64;
    let argument = weight.iter().fold(0.0f64, |m, w| {
        m.max((gamma / 2.0 - w.abs()).abs() / (config.temperature * gamma))
    });
    let e = ROUNDING * ((n + 8.0) * (argument + 1.0 / config.temperature) + 4.0 * argument + 16.0);
    let distance = reference(weight, gamma, config).0.sqrt();
    let slope = 2.0 / (n * config.temperature * gamma);
    (
        2.0 * distance * e + e * e + 2.0 * ROUNDING * distance * distance,
        slope * (0.25 * e + distance * (e + 0.25 * (n + 8.0) * ROUNDING)),
    )
}

fn configs() -> Vec<SparsityTargetLoss> {
    let mut configs = Vec::new();
    for target in [0.0, 0.5, 1.0] {
        for temperature in [0.1, 1.0] {
            configs.push(SparsityTargetLoss::new(target).with_temperature(temperature));
        }
    }
    configs
}

fn check<const D: usize>(shape: [usize; D]) {
    let n = shape.iter().product();
    for dtype in float_types(&Device::default()) {
        let values = rounded(&normal(n, 51), dtype);
        let weight = wide(&values);
        let gamma = mean_magnitude(&weight);
        for config in configs() {
            let loss = &config;
            let (value, gradient) = evaluate(&values, shape, dtype, |x| loss.forward(x));
            let expected = reference(&weight, gamma, &config);
            let (bound, slope) = bounds(&weight, gamma, &config);
            let what = format!("{shape:?} {config:?} {dtype:?}");
            assert_near(value, expected.0, bound, &what);
            assert_gradient(&gradient, &expected.1, dtype, |_| slope, &what);
        }

        let (value, gradient) = evaluate(&values, shape, dtype, |x| L1Loss::new().forward(x));
        assert_near(value, gamma, (n + 1) as f64 * ROUNDING * gamma, "L1");
        let expected: Vec<f64> = weight.iter().map(|w| w.signum() / n as f64).collect();
        let bound = |_| ROUNDING / n as f64;
        assert_gradient(&gradient, &expected, dtype, bound, "L1");
    }
}

#[test]
fn values_and_gradients_equal_the_reference() {
    check([33]);
    check([5, 7]);
    check([2, 3, 2, 2]);
}

#[test]
fn the_reference_has_the_slope_of_its_value() {
    // Steep: the third derivative grows with the third power of 1 / (temperature * gamma).
    let weight = wide(&normal(12, 52));
    let gamma = mean_magnitude(&weight);
    for config in configs() {
        assert_consistent(|w| reference(w, gamma, &config), &weight, 1e3);
    }
}

#[test]
fn at_a_low_temperature_the_estimate_is_the_part_of_zero_codes() {
    let n = 64;
    let values = exactly_summable(n, 53);
    let weight = tensor(&values, [n], DType::F32, &Device::default());
    let codes = floats(ternary_fake_quant(weight.clone(), Groups::per_tensor(n)).0);
    let zeros = codes.iter().filter(|code| **code == 0.0).count() as f64 / n as f64;
    assert!(zeros > 0.2 && zeros < 0.6, "{zeros}");
    let loss = SparsityTargetLoss::new(zeros).with_temperature(1e-5);
    // All but a weight within a few 1e-5 gamma of the threshold, of which there is none, are at
    // 0 or 1 to 1e-7.
    let gamma = mean_magnitude(&wide(&values));
    let margin = |v: &f32| (v.abs() as f64 - gamma / 2.0).abs() / gamma;
    assert!(values.iter().all(|v| margin(v) > 16e-5));
    assert!(loss.forward(weight).into_scalar::<f32>() < 1e-13);
}

#[test]
fn extreme_temperatures_have_finite_gradients() {
    for temperature in [1e-6, 1e6] {
        let loss = SparsityTargetLoss::new(0.3).with_temperature(temperature);
        let (value, gradient) = evaluate(&normal(16, 54), [16], DType::F32, |x| loss.forward(x));
        assert!(value.is_finite() && gradient.iter().all(|g| g.is_finite()));
    }
}

#[test]
fn zeros_have_no_gradient() {
    let loss = SparsityTargetLoss::new(0.3);
    let (value, gradient) = evaluate(&[0.0; 4], [4], DType::F32, |x| loss.forward(x));
    // Each is at half of the smallest scale below the threshold: sigmoid(5).
    let expected = (sigmoid(5.0) - 0.3).powi(2);
    assert_near(value, expected, 64.0 * ROUNDING, "loss");
    assert_equal(&gradient, &[0.0; 4], "gradient");
    let (value, gradient) = evaluate(&[0.0; 4], [4], DType::F32, |x| L1Loss::new().forward(x));
    assert_eq!((value, gradient), (0.0, vec![0.0; 4]));
}

#[test]
fn a_weight_of_no_values_has_no_loss() {
    let empty = Tensor::<2>::zeros([3, 0], &Device::default());
    let loss = SparsityTargetLoss::new(0.3);
    assert_eq!(loss.forward(empty.clone()).into_scalar::<f32>(), 0.0);
    assert_eq!(L1Loss::new().forward(empty).into_scalar::<f32>(), 0.0);
}

#[test]
#[should_panic(expected = "target sparsity must be in [0, 1], got -0.5")]
fn a_negative_target_is_refused() {
    SparsityTargetLoss::new(-0.5);
}

#[test]
#[should_panic(expected = "temperature must be positive and finite, got inf")]
fn an_infinite_temperature_is_refused() {
    let _ = SparsityTargetLoss::new(0.5).with_temperature(f64::INFINITY);
}
