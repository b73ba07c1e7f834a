use burn::{config::Config, tensor::Tensor};
use serde::{Deserialize, Serialize};

use super::precision::{full_precision, mean};
use crate::base::bounds::{Bounds, positive};

/// Kurtosis regularization (KURE): `L = (kurt(W) - target)^2` with
/// `kurt(W) = mean(((W - mu) / sigma)^4)`.
///
/// `mu` and `sigma` are the mean and the standard deviation of all values, the latter that of a
/// population (division by `n`). The kurtosis does not depend on scale and shift of `W`. Uniformly
/// distributed weights are robust against changes of the quantizer.
///
/// The kurtosis of constant weights is not defined; it is taken as 0, without gradient. Weights are
/// constant if their `sigma` is at most 1e-6 of their root mean square, or at most 1e-15: f32 does
/// not resolve them.
///
/// The paper takes the mean over the layers of a model.
///
/// Source: [Robust Quantization: One Model to Rule Them
/// All](https://arxiv.org/abs/2002.07686).
///
/// # Example
///
/// ```
/// use bitnet_burn::loss::KurtosisLoss;
/// use burn::tensor::{Device, Tensor};
///
/// let weight = Tensor::<1>::from_floats([0.5, -0.5, 0.5, -0.5], &Device::default());
/// let loss = KurtosisLoss::new().forward(weight);
/// // The kurtosis of two values is 1.
/// assert!((loss.into_scalar::<f32>() - 0.64).abs() < 1e-6);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KurtosisLoss {
    /// Target kurtosis, above 0; 1.8, that of a uniform distribution, by default. (A normal
    /// distribution has 3; the minimum is 1, that of two values.)
    #[serde(deserialize_with = "positive")]
    pub target: f64,
}

impl Config for KurtosisLoss {}

impl Default for KurtosisLoss {
    fn default() -> Self {
        Self { target: 1.8 }
    }
}

/// A variance up to this part of the mean square is rounding error.
const RELATIVE_VARIANCE: f64 = 1e-12;
/// A variance up to this counts as zero; its square root is still safe to divide by in f32.
const SMALLEST_VARIANCE: f64 = 1e-30;

impl KurtosisLoss {
    /// Creates a loss with the kurtosis of a uniform distribution as target.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`target`](Self::target).
    ///
    /// # Panics
    ///
    /// If it is not positive and finite.
    #[track_caller]
    #[must_use]
    pub fn with_target(mut self, target: f64) -> Self {
        Bounds::POSITIVE.assert("target kurtosis", target);
        self.target = target;
        self
    }

    /// Computes the loss.
    ///
    /// # Shapes
    ///
    /// - weight: `[..]`
    /// - output: `[1]`, f32, or f64 for f64 inputs
    pub fn forward<const D: usize>(&self, weight: Tensor<D>) -> Tensor<1> {
        kurtosis(weight).sub_scalar(self.target).square()
    }
}

fn kurtosis<const D: usize>(weight: Tensor<D>) -> Tensor<1> {
    let weight = full_precision(weight).flatten::<1>(0, D - 1);
    let constant = mean(weight.clone().detach().square())
        .mul_scalar(RELATIVE_VARIANCE)
        .clamp_min(SMALLEST_VARIANCE);

    // Centered twice: for equal values, the rounding error of their mean would remain as a
    // deviation common to all of them.
    let deviation = centered(centered(weight));
    let variance = mean(deviation.clone().square());
    let varies = variance.clone().greater(constant.clone());
    // The divisor is at least the limit of constant weights, and the result is zeroed below it: no
    // NaN in forward or backward.
    let standardized = deviation / variance.max_pair(constant).sqrt();
    mean(standardized.square().square()).mask_fill(varies.bool_not(), 0)
}

fn centered(values: Tensor<1>) -> Tensor<1> {
    let mean = mean(values.clone());
    values - mean
}
