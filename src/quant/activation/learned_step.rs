use burn::tensor::{Device, Tensor};

use crate::{
    base::bounds::{Bounds, OutOfBounds},
    functions::learned_step_fake_quant,
    ops::{Groups, QuantRange},
    quant::learned_step::at_least_epsilon,
};

/// Fields of [`ActivationQuantizer::LearnedStep`](super::ActivationQuantizer::LearnedStep).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LearnedActivationConfig {
    pub(crate) bits: u8,
    pub(crate) offset: bool,
    pub(crate) absmean: f32,
}

pub(super) fn deserialize_absmean<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<f32, D::Error> {
    Bounds::POSITIVE.read("absmean", deserializer)
}

pub(super) fn check_absmean(absmean: f32) -> Result<(), OutOfBounds> {
    Bounds::POSITIVE.check("absmean", absmean)
}

impl LearnedActivationConfig {
    pub(crate) fn codes(&self) -> QuantRange {
        match self.offset {
            true => QuantRange::unsigned(self.bits),
            false => QuantRange::signed(self.bits),
        }
    }

    /// Returns the initial step and offset, `[1, 1]` each.
    pub(crate) fn initial_parameters(&self, device: &Device) -> [Tensor<2>; 2] {
        let step = 2.0 * self.absmean / QuantRange::signed(self.bits).max.sqrt();
        let codes = self.codes();
        let middle = match self.offset {
            true => ((codes.min + codes.max) / 2.0).ceil(),
            false => 0.0,
        };
        [step, -middle * step].map(|value| Tensor::full([1, 1], value, device))
    }

    pub(crate) fn fake_quant<const D: usize>(
        &self,
        x: Tensor<D>,
        scales: Tensor<2>,
        offsets: Tensor<2>,
    ) -> Tensor<D> {
        let codes = self.codes();
        let values: usize = x.dims().iter().product();
        let features = x.dims().last().copied().unwrap_or(1);
        // LSQ counts the features of a layer, not the tokens of a batch.
        let grad_scale = 1.0 / (features.max(1) as f32 * codes.max).sqrt();
        let groups = Groups::per_tensor(values);
        learned_step_fake_quant(
            x,
            at_least_epsilon(scales),
            offsets,
            groups,
            codes,
            grad_scale,
        )
    }
}
