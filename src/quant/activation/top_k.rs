use burn::tensor::Tensor;

use super::AbsmaxConfig;
use crate::{
    base::bounds::{Bounds, OutOfBounds, assert_valid},
    quant::{ActivationGranularity, Ste},
};

/// Fields of [`ActivationQuantizer::TopK`](super::ActivationQuantizer::TopK).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TopKConfig {
    pub(crate) keep: f64,
    pub(crate) bits: u8,
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

pub(super) fn deserialize_keep<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<f64, D::Error> {
    Bounds::POSITIVE_FRACTION.read("keep", deserializer)
}
