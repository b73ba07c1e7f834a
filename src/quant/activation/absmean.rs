use burn::tensor::Tensor;

use crate::{
    functions::{AffineParams, group_statistic},
    ops::{QuantRange, Statistic},
    quant::{ActivationGranularity, Ste},
};

/// Fields of [`ActivationQuantizer::Absmean`](super::ActivationQuantizer::Absmean).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct AbsmeanConfig {
    pub(crate) bits: u8,
    pub(crate) granularity: ActivationGranularity,
}

impl AbsmeanConfig {
    #[track_caller]
    pub(super) fn fake_quant<const D: usize>(&self, x: Tensor<D>, ste: Ste) -> Tensor<D> {
        let groups = self.granularity.groups(&x.dims());
        let codes = QuantRange::signed(self.bits);
        let beta = group_statistic(x.clone().detach(), groups, Statistic::AbsMean);
        let steps = beta.div_scalar(codes.max.sqrt());
        ste.fake_quant(x, AffineParams::symmetric(steps, groups, codes))
    }
}
