use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::{
    base::{
        bits::deserialize_bits,
        bounds::{Bounds, OutOfBounds},
    },
    functions::learned_step_fake_quant,
    ops::{CodeRange, Groups},
    quant::learned_step::at_least_epsilon,
};

/// Quantization of activations with a trained step size and, if asymmetric, a trained offset (LSQ, LSQ+):
/// `(clamp(round(v), min, max) - z) * step` with `z = -offset / step` and `v = x / step + z`.
///
/// There is one step and offset for the whole tensor. The step starts at `2 absmean / sqrt(max)`, the
/// offset at the value that maps zero to the middle of the codes. The gradient of the activations is that
/// of LSQ for any estimator of the scheme.
///
/// Sources: [Learned Step Size Quantization](https://arxiv.org/abs/1902.08153),
/// [LSQ+](https://arxiv.org/abs/2004.09576).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearnedActivationConfig {
    /// Bits of a code, 2 to 8.
    #[serde(deserialize_with = "deserialize_bits")]
    pub bits: u8,
    /// `true` to train an offset, with unsigned codes (LSQ+).
    pub offset: bool,
    /// Expected mean magnitude of the activations, for the initial step. 0.8 is that of normally
    /// distributed ones after a norm. Positive and finite.
    #[serde(deserialize_with = "deserialize_absmean")]
    pub absmean: f32,
}

fn deserialize_absmean<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    Bounds::POSITIVE.read("absmean", deserializer)
}

impl LearnedActivationConfig {
    pub(super) fn validate(&self) -> Result<(), OutOfBounds> {
        Bounds::POSITIVE.check("absmean", self.absmean)
    }

    pub(crate) fn codes(&self) -> CodeRange {
        match self.offset {
            true => CodeRange::unsigned(self.bits),
            false => CodeRange::signed(self.bits),
        }
    }

    /// Returns the initial step and offset, `[1, 1]` each.
    pub(crate) fn initial_parameters(&self, device: &Device) -> [Tensor<2>; 2] {
        let step = 2.0 * self.absmean / CodeRange::signed(self.bits).max.sqrt();
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

impl Default for LearnedActivationConfig {
    /// Returns 8 bits, symmetric.
    fn default() -> Self {
        Self {
            bits: 8,
            offset: false,
            absmean: 0.8,
        }
    }
}
