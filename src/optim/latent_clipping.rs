use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::LatentQuantizer;

/// Bound on latent weights, applied after each step: `w <- clamp(w, -bound, bound)`.
///
/// Under the identity estimator a latent weight far beyond the outermost code goes on moving
/// although its quantised value does not change, and takes as long to come back. Clipping keeps it
/// near the thresholds. Introduced by
/// [BinaryConnect](https://arxiv.org/abs/1511.00363), section 2.4, with the bound 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LatentClipping {
    /// The bound is this value.
    Absolute(f64),
    /// The bound is this value times the scale of the weight: `c * gamma`, `gamma` being that of
    /// the weight before it is clipped.
    Scaled(f64),
}

impl LatentClipping {
    /// Panics unless the bound is positive.
    #[track_caller]
    pub(super) fn assert_valid(&self) {
        let (Self::Absolute(bound) | Self::Scaled(bound)) = *self;
        assert!(bound > 0.0, "the bound of {self:?} must be positive");
    }

    /// The weight within the bound.
    pub(super) fn clip<const D: usize>(
        &self,
        weight: Tensor<D>,
        quantizer: &LatentQuantizer,
    ) -> Tensor<D> {
        match *self {
            Self::Absolute(bound) => weight.clamp(-bound, bound),
            Self::Scaled(factor) => {
                let bound = quantizer
                    .scales(weight.clone())
                    .mul_scalar(factor)
                    .cast(weight.dtype());
                weight.max_pair(bound.clone().neg()).min_pair(bound)
            }
        }
    }
}
