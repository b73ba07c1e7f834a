use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::LatentQuantizer;
use crate::base::bounds::{Bounds, OutOfBounds};

/// Bound on latent weights, applied after each step: `w <- clamp(w, -bound, bound)`.
///
/// With the identity estimator, a latent weight far beyond the outermost code continues to move
/// although its quantized value does not change, and takes equally long to return. Clipping keeps
/// it near the thresholds. Introduced by
/// [BinaryConnect](https://arxiv.org/abs/1511.00363), section 2.4, with the bound 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LatentClipping {
    /// Bound of this value.
    Absolute(f64),
    /// Bound of this value times the scale of the weight: `c * gamma`, with `gamma` of the weight
    /// before clipping.
    Scaled(f64),
}

impl LatentClipping {
    pub(super) fn validate(&self) -> Result<(), OutOfBounds> {
        let (Self::Absolute(bound) | Self::Scaled(bound)) = *self;
        Bounds::ABOVE_0.check(&format!("the bound of {self:?}"), bound)
    }

    /// Clips the weight to the bound.
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
