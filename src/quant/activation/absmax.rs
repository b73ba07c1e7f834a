use burn::tensor::Tensor;

use crate::{
    functions::{AffineParams, absmax_fake_quant},
    ops::QuantRange,
    quant::{ActivationGranularity, Ste},
};

/// Fields of [`ActivationQuantizer::Absmax`](super::ActivationQuantizer::Absmax).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct AbsmaxConfig {
    pub(crate) bits: u8,
    pub(crate) granularity: ActivationGranularity,
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
        let codes = QuantRange::signed(self.bits);
        let levels = AffineParams::symmetric(scales.recip(), groups, codes);
        (quantized, levels)
    }
}
