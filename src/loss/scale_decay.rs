use burn::{config::Config, tensor::Tensor};
use serde::{Deserialize, Serialize};

use super::precision::{full_precision, mean};
use crate::base::bounds::{Bounds, not_negative};

/// Decay of the scales (step sizes) of a quantizer: `L = coefficient * mean(s^2)`.
///
/// For scales that are parameters: penalizes large steps, so that they grow only where this lowers
/// the task loss.
///
/// # Example
///
/// ```
/// use bitnet_burn::loss::ScaleDecayLoss;
/// use burn::tensor::{Device, Tensor};
///
/// let scales = Tensor::<1>::from_floats([1.0, 3.0], &Device::default());
/// let loss = ScaleDecayLoss::new().with_coefficient(0.5);
/// assert_eq!(loss.forward(scales).into_scalar::<f32>(), 2.5);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScaleDecayLoss {
    /// Coefficient of the loss, 0 or above; 1 by default.
    #[serde(deserialize_with = "not_negative")]
    pub coefficient: f64,
}

impl Config for ScaleDecayLoss {}

impl Default for ScaleDecayLoss {
    fn default() -> Self {
        Self { coefficient: 1.0 }
    }
}

impl ScaleDecayLoss {
    /// Creates a loss with coefficient 1.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`coefficient`](Self::coefficient).
    ///
    /// # Panics
    ///
    /// If it is not zero or above and finite.
    #[track_caller]
    #[must_use]
    pub fn with_coefficient(mut self, coefficient: f64) -> Self {
        Bounds::NOT_NEGATIVE.assert("coefficient", coefficient);
        self.coefficient = coefficient;
        self
    }

    /// Computes the loss; 0 without scales.
    ///
    /// # Shapes
    ///
    /// - scales: `[..]`
    /// - output: `[1]`, f32, or f64 for f64 inputs
    pub fn forward<const D: usize>(&self, scales: Tensor<D>) -> Tensor<1> {
        mean(full_precision(scales).square()).mul_scalar(self.coefficient)
    }
}
