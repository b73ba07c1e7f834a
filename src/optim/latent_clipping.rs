use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::LatentQuantizer;
use crate::base::bounds::{Bounds, OutOfBounds};

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
    /// Checks the bound.
    pub(super) fn validate(&self) -> Result<(), OutOfBounds> {
        let (Self::Absolute(bound) | Self::Scaled(bound)) = *self;
        Bounds::ABOVE_0.check(&format!("the bound of {self:?}"), bound)
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
