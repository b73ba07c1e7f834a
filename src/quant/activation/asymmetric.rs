use burn::tensor::Tensor;

use crate::{
    functions::AffineParams,
    ops::{EPSILON, QuantRange},
    quant::{ActivationGranularity, Ste, group::GroupedValues},
};

/// Fields of [`ActivationQuantizer::Asymmetric`](super::ActivationQuantizer::Asymmetric).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct AsymmetricConfig {
    pub(crate) bits: u8,
    pub(crate) granularity: ActivationGranularity,
}

impl AsymmetricConfig {
    /// Returns the levels for the values of a tensor.
    fn levels<const D: usize>(&self, x: Tensor<D>) -> AffineParams {
        let groups = self.granularity.groups(&x.dims());
        let codes = QuantRange::unsigned(self.bits);
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
