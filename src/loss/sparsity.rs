use burn::{
    config::Config,
    tensor::{Tensor, activation::sigmoid},
};
use serde::{Deserialize, Serialize};

use super::precision::{full_precision, mean};
use crate::base::bounds::{Bounds, fraction, positive};

/// L1 loss `L = mean|W|`, with gradient `sign(W) / n`, and 0 at 0.
///
/// It does not change absmean-quantized weights if all of them shrink alike: their codes depend on
/// `W / mean|W|` only. [`SparsityTargetLoss`] acts on the codes.
///
/// # Example
///
/// ```
/// use bitnet_burn::loss::L1Loss;
/// use burn::tensor::{Device, Tensor};
///
/// let weight = Tensor::<1>::from_floats([0.5, -1.5], &Device::default());
/// assert_eq!(L1Loss::new().forward(weight).into_scalar::<f32>(), 1.0);
/// ```
#[derive(Debug, Clone, Default)]
pub struct L1Loss;

impl L1Loss {
    /// Creates the loss.
    pub fn new() -> Self {
        Self
    }

    /// Computes the loss; 0 for a weight without values.
    ///
    /// # Shapes
    ///
    /// - weight: `[..]`
    /// - output: `[1]`, f32, or f64 for f64 inputs
    pub fn forward<const D: usize>(&self, weight: Tensor<D>) -> Tensor<1> {
        mean(full_precision(weight).abs())
    }
}

/// Squared distance of the fraction of zero ternary codes from a target, by a differentiable
/// estimate of that fraction.
///
/// `L = (mean(sigmoid((gamma / 2 - |W|) / (temperature * gamma))) - target)^2` with
/// `gamma = max(mean|W|, 1e-5)`, over the whole weight and without gradient.
///
/// The code of a weight is 0 where `|W| <= gamma / 2`. The sigmoid is a smooth form of that step:
/// the estimate tends to the fraction of zeros as the temperature tends to 0. For ternary weights
/// with one scale per tensor; with a scale per channel or group, call it on each of these.
///
/// # Example
///
/// ```
/// use bitnet_burn::loss::SparsityTargetLoss;
/// use burn::tensor::{Device, Tensor};
///
/// // gamma is 1; two of four codes are 0.
/// let weight = Tensor::<1>::from_floats([0.1, -0.1, 1.9, -1.9], &Device::default());
/// let loss = SparsityTargetLoss::new(0.5).forward(weight);
/// assert!(loss.into_scalar::<f32>() < 1e-3);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SparsityTargetLoss {
    /// Target fraction of zero codes, 0 to 1.
    #[serde(deserialize_with = "fraction")]
    pub target: f64,
    /// Width of the soft threshold, in units of `gamma`, above 0; 0.1 by default. A smaller width
    /// brings the estimate closer to the true fraction of zeros and leaves fewer weights with a
    /// gradient.
    #[serde(default = "default_temperature", deserialize_with = "positive")]
    pub temperature: f64,
}

fn default_temperature() -> f64 {
    0.1
}

/// Smallest scale, equal to that of the quantizer.
const EPSILON: f64 = 1e-5;

impl Config for SparsityTargetLoss {}

impl SparsityTargetLoss {
    /// Creates a loss with a target fraction of zeros and temperature 0.1.
    ///
    /// # Panics
    ///
    /// If it is not in [0, 1].
    #[track_caller]
    pub fn new(target: f64) -> Self {
        Bounds::FRACTION.assert("target sparsity", target);
        Self {
            target,
            temperature: default_temperature(),
        }
    }

    /// Sets [`temperature`](Self::temperature).
    ///
    /// # Panics
    ///
    /// If it is not positive and finite.
    #[track_caller]
    #[must_use]
    pub fn with_temperature(mut self, temperature: f64) -> Self {
        Bounds::POSITIVE.assert("temperature", temperature);
        self.temperature = temperature;
        self
    }

    /// Computes the loss; 0 for a weight without values.
    ///
    /// # Shapes
    ///
    /// - weight: `[..]`, the latent weight
    /// - output: `[1]`, f32, or f64 for f64 inputs
    pub fn forward<const D: usize>(&self, weight: Tensor<D>) -> Tensor<1> {
        let n = weight.shape().num_elements();
        let magnitude = full_precision(weight).flatten::<1>(0, D - 1).abs();
        if n == 0 {
            // The fraction of zeros of an empty weight is not defined.
            return magnitude.sum();
        }
        let gamma = mean(magnitude.clone().detach()).clamp_min(EPSILON);
        let margin = gamma.clone().div_scalar(2.0) - magnitude;
        let zeros = sigmoid(margin / gamma.mul_scalar(self.temperature));
        mean(zeros).sub_scalar(self.target).square()
    }
}
