use burn::tensor::Tensor;

use super::AbsmaxConfig;
use crate::{
    functions::AffineParams,
    ops::{Groups, QuantRange},
    quant::{ActivationGranularity, Ste, calibration::Mapping},
};

/// Fields of [`ActivationQuantizer::Static`](super::ActivationQuantizer::Static).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StaticConfig {
    pub(crate) bits: u8,
    pub(crate) symmetric: bool,
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

    pub(crate) fn codes(&self) -> QuantRange {
        self.mapping().codes(self.bits)
    }
}
