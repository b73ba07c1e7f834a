//! Comparison of the losses with scalar code in `f64`.
//!
//! A reference returns a value and an analytic gradient; [`assert_consistent`] checks one against the
//! other.

use burn::tensor::{DType, Device, Tensor};

use super::values::*;

/// Result of a reference: the loss, and its gradient with respect to each value.
pub type Reference = (f64, Vec<f64>);

/// Computes the loss of a tensor of the given values, and its gradient.
pub fn evaluate<const D: usize>(
    values: &[f32],
    shape: [usize; D],
    dtype: DType,
    loss: impl Fn(Tensor<D>) -> Tensor<1>,
) -> (f64, Vec<f32>) {
    let device = Device::default().autodiff();
    let x = tensor(values, shape, dtype, &device).require_grad();
    let loss = loss(x.clone());
    assert_eq!((loss.dims(), loss.dtype()), ([1], DType::F32));
    let gradient = x.grad(&loss.backward()).expect("a gradient");
    assert_eq!(gradient.dtype(), dtype);
    (loss.into_scalar::<f32>() as f64, floats(gradient))
}

/// Converts values to `f64`.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| v as f64).collect()
}

/// Asserts that the values are within `bound` of each other.
#[track_caller]
pub fn assert_near(actual: f64, expected: f64, bound: f64, what: &str) {
    let error = (actual - expected).abs();
    assert!(
        error <= bound,
        "{what}: got {actual}, expected {expected}: error {error:e}, bound {bound:e}"
    );
}

/// Asserts that each part of a gradient, computed in `f32` and rounded to `dtype`, is within
/// `bound(i)` before that rounding.
#[track_caller]
pub fn assert_gradient(
    actual: &[f32],
    expected: &[f64],
    dtype: DType,
    bound: impl Fn(usize) -> f64,
    what: &str,
) {
    // Half a unit in the last place; subnormal values of `f16` have an absolute error.
    let (unit, smallest) = match dtype {
        DType::F16 => (2f64.powi(-11), 2f64.powi(-25)),
        DType::BF16 => (2f64.powi(-8), 0.0),
        _ => (0.0, 0.0),
    };
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        let bound = bound(i) * (1.0 + unit) + unit * e.abs() + smallest;
        assert_near(a as f64, e, bound, &format!("{what}, gradient {i}"));
    }
}

/// Asserts that the gradient of a reference is that of its value, by central differences.
///
/// With `h = 1e-5` their error is `h^2 / 6` times the third derivative, a few hundred at most here,
/// and a rounding of the value, `2^-53`, divided by `h`: within 1e-8 for values and slopes about
/// 1, and `slack` times as much for larger ones.
#[track_caller]
pub fn assert_consistent(reference: impl Fn(&[f64]) -> Reference, x: &[f64], slack: f64) {
    let h = 1e-5;
    let (_, gradient) = reference(x);
    for i in 0..x.len() {
        let at = |value: f64| {
            let mut x = x.to_vec();
            x[i] = value;
            reference(&x).0
        };
        let slope = (at(x[i] + h) - at(x[i] - h)) / (2.0 * h);
        assert_near(gradient[i], slope, 1e-8 * slack, &format!("slope {i}"));
    }
}
