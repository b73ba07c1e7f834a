use burn::{config::Config, tensor::Tensor};
use serde::{Deserialize, Serialize};

use super::precision::{full_precision, mean};

/// Distance measure of a weight from its quantization level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Distance {
    /// Squared difference: the gradient is proportional to the distance.
    #[default]
    Squared,
    /// Absolute difference: the gradient is the same at each distance.
    Absolute,
}

/// Distance of latent weights from the quantization levels that they round to.
///
/// `L = mean((W - Q(W))^2)` or `L = mean|W - Q(W)|`, with `Q(W)` a constant: `dL/dW` is `2 (W -
/// Q(W)) / n` or `sign(W - Q(W)) / n`. Pulls each weight to its level, which reduces the error of
/// quantization.
///
/// # Example
///
/// ```
/// use bitnet_burn::{functions::{Groups, ternary_fake_quant}, loss::LevelDistanceLoss};
/// use burn::tensor::{Device, Tensor};
///
/// let weight = Tensor::<1>::from_floats([1.5, -0.5], &Device::default());
/// let (quantized, _) = ternary_fake_quant(weight.clone(), Groups::per_tensor(2));
/// // Quantized to 1 and, since a tie rounds to even, 0.
/// let loss = LevelDistanceLoss::new().forward(weight, quantized);
/// assert_eq!(loss.into_scalar::<f32>(), 0.25);
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LevelDistanceLoss {
    /// Distance measure.
    pub distance: Distance,
}

impl Config for LevelDistanceLoss {}

impl LevelDistanceLoss {
    /// Creates a loss of squared distances.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`distance`](Self::distance).
    #[must_use]
    pub fn with_distance(mut self, distance: Distance) -> Self {
        self.distance = distance;
        self
    }

    /// Computes the loss; 0 for a weight without values.
    ///
    /// # Shapes
    ///
    /// - weight: `[..]`, the latent weight
    /// - quantized: `[..]`, its quantized value, detached here
    /// - output: `[1]`, f32, or f64 for f64 inputs
    ///
    /// # Panics
    ///
    /// If the two differ in shape.
    #[track_caller]
    pub fn forward<const D: usize>(&self, weight: Tensor<D>, quantized: Tensor<D>) -> Tensor<1> {
        assert_eq!(
            weight.dims(),
            quantized.dims(),
            "a weight and its quantized value have one shape"
        );
        let difference = full_precision(weight) - full_precision(quantized.detach());
        mean(match self.distance {
            Distance::Squared => difference.square(),
            Distance::Absolute => difference.abs(),
        })
    }
}
