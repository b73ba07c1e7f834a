use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{
    base::bits::deserialize_bits,
    functions::{AffineParams, absmax_fake_quant},
    ops::CodeRange,
    quant::{ActivationGranularity, Ste},
};

/// Symmetric quantization of activations: `clamp(round(x * s)) / s` with
/// `s = (2^(bits-1) - 1) / max(max|x|, 1e-5)`.
///
/// Source: [The Era of 1-bit LLMs](https://arxiv.org/abs/2402.17764) (8 bits per token).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AbsmaxConfig {
    /// Bits of a code, 2 to 8.
    #[serde(deserialize_with = "deserialize_bits")]
    pub bits: u8,
    /// Values that share a scale.
    pub granularity: ActivationGranularity,
}

impl AbsmaxConfig {
    #[track_caller]
    pub(crate) fn fake_quant<const D: usize>(&self, x: Tensor<D>, ste: Ste) -> Tensor<D> {
        if ste == Ste::Identity {
            let groups = self.granularity.groups(&x.dims());
            return absmax_fake_quant(x, groups, self.bits).0;
        }
        let (quantized, levels) = self.quantize(x.clone().detach());
        ste.apply(x, quantized, levels)
    }

    /// Returns the quantized values of a constant, and their levels.
    #[track_caller]
    pub(super) fn quantize<const D: usize>(&self, x: Tensor<D>) -> (Tensor<D>, AffineParams) {
        let groups = self.granularity.groups(&x.dims());
        let (quantized, scales) = absmax_fake_quant(x, groups, self.bits);
        let codes = CodeRange::signed(self.bits);
        let levels = AffineParams::symmetric(scales.recip(), groups, codes);
        (quantized, levels)
    }
}

impl Default for AbsmaxConfig {
    /// Returns 8 bits per token, as in BitNet b1.58.
    fn default() -> Self {
        Self {
            bits: 8,
            granularity: ActivationGranularity::PerToken,
        }
    }
}
