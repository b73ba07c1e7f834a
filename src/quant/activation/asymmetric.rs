use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{
    base::bits::deserialize_bits,
    functions::AffineParams,
    ops::{CodeRange, EPSILON},
    quant::{ActivationGranularity, Ste, group::GroupedValues},
};

/// Asymmetric quantization of activations between their smallest and largest value:
/// `(clamp(round(x / step) + zero_point, 0, max) - zero_point) * step` with `max = 2^bits - 1`,
/// `step = max((max x - min x) / max, 1e-5 / max)` and `zero_point = round(-min x / step)`.
///
/// Both ends include 0, which is represented exactly.
///
/// Source: [Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
/// Inference](https://arxiv.org/abs/1712.05877).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AsymmetricConfig {
    /// Bits of a code, 2 to 8.
    #[serde(deserialize_with = "deserialize_bits")]
    pub bits: u8,
    /// Values that share a scale.
    pub granularity: ActivationGranularity,
}

impl AsymmetricConfig {
    /// Returns the levels for the values of a tensor.
    fn levels<const D: usize>(&self, x: Tensor<D>) -> AffineParams {
        let groups = self.granularity.groups(&x.dims());
        let codes = CodeRange::unsigned(self.bits);
        let (min, max) = GroupedValues::new(x, groups).range_with_zero();
        let range = max - min.clone();
        // The comparison leaves a NaN unchanged.
        let small = range.clone().lower_scalar(EPSILON);
        let scales = range.mask_fill(small, EPSILON).div_scalar(codes.max);
        let zero_points = min.div(scales.clone()).neg().round();
        AffineParams {
            scales,
            zero_points,
            groups,
            codes,
        }
    }

    #[track_caller]
    pub(super) fn fake_quant<const D: usize>(&self, x: Tensor<D>, ste: Ste) -> Tensor<D> {
        let levels = self.levels(x.clone().detach());
        ste.fake_quant(x, levels)
    }
}

impl Default for AsymmetricConfig {
    /// Returns 8 bits per token.
    fn default() -> Self {
        Self {
            bits: 8,
            granularity: ActivationGranularity::PerToken,
        }
    }
}
