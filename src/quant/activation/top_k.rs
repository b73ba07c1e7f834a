use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::AbsmaxConfig;
use crate::{
    base::{
        bits::deserialize_bits,
        bounds::{Bounds, OutOfBounds, assert_valid},
    },
    quant::{ActivationGranularity, Ste},
};

/// Sparse quantization of activations: the `keep` largest magnitudes of each token are quantized by
/// absmax, the others are zero. All magnitudes equal to the smallest one kept are kept.
///
/// The gradient of the estimator passes to all values, also to the zeroed ones.
///
/// Sources: [Q-Sparse](https://arxiv.org/abs/2407.10969),
/// [BitNet a4.8](https://arxiv.org/abs/2411.04965) (half of the inputs of the output projection,
/// 8 bits).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopKConfig {
    /// Share of the values that are kept, above 0 and at most 1.
    #[serde(deserialize_with = "deserialize_keep")]
    pub keep: f64,
    /// Bits of a code, 2 to 8.
    #[serde(deserialize_with = "deserialize_bits")]
    pub bits: u8,
}

impl TopKConfig {
    pub(super) fn validate(&self) -> Result<(), OutOfBounds> {
        Bounds::POSITIVE_FRACTION.check("keep", self.keep)
    }

    #[track_caller]
    pub(super) fn fake_quant<const D: usize>(&self, x: Tensor<D>, ste: Ste) -> Tensor<D> {
        assert_valid(self.validate());
        let absmax = AbsmaxConfig {
            bits: self.bits,
            granularity: ActivationGranularity::PerToken,
        };
        let constant = x.clone().detach();
        let kept = self.mask(constant.clone());
        // The largest magnitude of a token is kept, so that its scale is that of all its values.
        let (quantized, levels) = absmax.quantize(constant);
        ste.apply(x, quantized * kept, levels)
    }

    /// Returns 1 for the values that are kept, else 0.
    fn mask<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let values = x.dims()[D - 1];
        let count = ((self.keep * values as f64).round() as usize).clamp(1, values.max(1));
        if x.dims().contains(&0) || count == values {
            return x.ones_like();
        }
        let magnitudes = x.abs();
        let largest = magnitudes.clone().topk(count, D - 1);
        let threshold = largest.min_dim(D - 1);
        let dtype = magnitudes.dtype();
        magnitudes
            .clone()
            .greater_equal(threshold.expand(magnitudes.dims()))
            .float()
            .cast(dtype)
    }
}

fn deserialize_keep<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Bounds::POSITIVE_FRACTION.read("keep", deserializer)
}

impl Default for TopKConfig {
    /// Returns half of the values with 8 bits, as in BitNet a4.8.
    fn default() -> Self {
        Self { keep: 0.5, bits: 8 }
    }
}
