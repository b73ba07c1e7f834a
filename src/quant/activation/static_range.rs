use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::AbsmaxConfig;
use crate::{
    base::bits::deserialize_bits,
    functions::AffineParams,
    ops::{CodeRange, Groups},
    quant::{ActivationGranularity, Ste, calibration::Mapping},
};

/// Quantization of activations with a fixed step size and zero point from calibration. A forward pass
/// computes no statistics of the values, as integer accelerators require.
///
/// Before calibration each tensor is scaled by its largest magnitude.
///
/// Source: [Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
/// Inference](https://arxiv.org/abs/1712.05877).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StaticConfig {
    /// Bits of a code, 2 to 8.
    #[serde(deserialize_with = "deserialize_bits")]
    pub bits: u8,
    /// `true` for signed codes and the zero point 0.
    pub symmetric: bool,
}

/// Step size and zero point from calibration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StaticRange {
    pub step: f32,
    pub zero_point: f32,
}

impl StaticConfig {
    #[track_caller]
    pub(crate) fn fake_quant<const D: usize>(
        &self,
        x: Tensor<D>,
        range: Option<StaticRange>,
        ste: Ste,
    ) -> Tensor<D> {
        let Some(StaticRange { step, zero_point }) = range else {
            let absmax = AbsmaxConfig {
                bits: self.bits,
                granularity: ActivationGranularity::PerTensor,
            };
            return absmax.fake_quant(x, ste);
        };
        let device = x.device();
        let levels = AffineParams {
            scales: Tensor::full([1, 1], step, &device),
            zero_points: Tensor::full([1, 1], zero_point, &device),
            groups: Groups::per_tensor(x.dims().iter().product()),
            codes: self.codes(),
        };
        ste.fake_quant(x, levels)
    }

    /// Returns the mapping from a range to a step and a zero point.
    pub(crate) fn mapping(&self) -> Mapping {
        match self.symmetric {
            true => Mapping::Symmetric,
            false => Mapping::Asymmetric,
        }
    }

    pub(crate) fn codes(&self) -> CodeRange {
        self.mapping().codes(self.bits)
    }
}

impl Default for StaticConfig {
    /// Returns 8 bits, symmetric.
    fn default() -> Self {
        Self {
            bits: 8,
            symmetric: true,
        }
    }
}
