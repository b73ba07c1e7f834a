use burn::{config::Config, module::Module, tensor::Tensor};
use serde::{Deserialize, Serialize};

use super::precision::{full_precision, mean};

/// How a weight's distance to its quantisation level counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Distance {
    /// The square: the pull is proportional to the distance.
    #[default]
    Squared,
    /// The magnitude: the pull is the same everywhere.
    Absolute,
}

/// Configuration of a [`LevelDistanceLoss`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LevelDistanceLossConfig {
    /// How a distance counts.
    pub distance: Distance,
}

impl Config for LevelDistanceLossConfig {}

/// Distance of latent weights to the quantisation levels that they round to.
///
/// `L = mean((W - Q(W))^2)` or `L = mean|W - Q(W)|`, with `Q(W)` a constant: `dL/dW` is
/// `2 (W - Q(W)) / n` or `sign(W - Q(W)) / n`. Pulls each weight to its level, so that little
/// changes when it is quantised.
///
/// # Example
///
/// ```
/// use bitnet_burn::{functions::ternary_fake_quant, loss::LevelDistanceLossConfig, ops::Groups};
/// use burn::tensor::{Device, Tensor};
///
/// let weight = Tensor::<1>::from_floats([1.5, -0.5], &Device::default());
/// let (quantized, _) = ternary_fake_quant(weight.clone(), Groups::per_tensor(2));
/// // Its values are 1 and, a tie rounded to even, 0.
/// let loss = LevelDistanceLossConfig::new().init().forward(weight, quantized);
/// assert_eq!(loss.into_scalar::<f32>(), 0.25);
/// ```
#[derive(Module, Debug)]
pub struct LevelDistanceLoss {
    /// How a distance counts.
    #[module(skip)]
    pub distance: Distance,
}

impl LevelDistanceLossConfig {
    /// Squared distances.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`distance`](Self::distance).
    pub fn with_distance(mut self, distance: Distance) -> Self {
        self.distance = distance;
        self
    }

    /// Initialize a [`LevelDistanceLoss`].
    pub fn init(&self) -> LevelDistanceLoss {
        LevelDistanceLoss {
            distance: self.distance,
        }
    }
}

impl LevelDistanceLoss {
    /// The loss; 0 for a weight of no values.
    ///
    /// # Shapes
    ///
    /// - weight: `[..]`, the latent weight
    /// - quantized: `[..]`, its quantised value; gradients to it are cut here
    /// - output: `[1]`, f32, or f64 for f64 inputs
    ///
    /// # Panics
    ///
    /// If the two are not of one shape.
    #[track_caller]
    pub fn forward<const D: usize>(&self, weight: Tensor<D>, quantized: Tensor<D>) -> Tensor<1> {
        assert_eq!(
            weight.dims(),
            quantized.dims(),
            "a weight and its quantised value have one shape"
        );
        let difference = full_precision(weight) - full_precision(quantized.detach());
        mean(match self.distance {
            Distance::Squared => difference.square(),
            Distance::Absolute => difference.abs(),
        })
    }
}
