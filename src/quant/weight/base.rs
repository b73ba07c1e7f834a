use core::fmt;

use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use super::{QuantizedWeight, TernaryScale, binary, symmetric};

use crate::{
    base::{
        bits::{check_bits, deserialize_bits},
        bounds::OutOfBounds,
    },
    functions::{ternary_fake_quant, ternary_pack},
    ops::{EPSILON, Groups, QuantRange},
    quant::{BitWidth, GranularityError, Ste, WeightGranularity, learned_step::LearnedStepConfig},
};

/// Quantizer of weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum WeightQuantizer {
    /// Ternary quantization of BitNet b1.58: `Q(W) = clamp(round(W / gamma), -1, 1) * gamma`.
    Ternary {
        /// Weights that share a `gamma`.
        #[serde(default)]
        granularity: WeightGranularity,
        /// Definition of `gamma`.
        #[serde(default, skip_serializing_if = "TernaryScale::is_absmean")]
        scale: TernaryScale,
    },
    /// Binary quantization of BitNet b1: `Q(W) = alpha` where `W > mean W`, else `-alpha`, with
    /// `alpha = max(mean|W|, 1e-5)`.
    ///
    /// Stored in 2 bits like ternary weights; the code 0 does not occur.
    ///
    /// Source: [BitNet: Scaling 1-bit Transformers](https://arxiv.org/abs/2310.11453), equations 1 to 3.
    Binary {
        /// Weights that share mean and `alpha`.
        #[serde(default)]
        granularity: WeightGranularity,
    },
    /// Symmetric quantization to 2 to 8 bits: `Q(W) = clamp(round(W / step), -2^(bits-1), 2^(bits-1) - 1) *
    /// step` with `step = max(max|W|, 1e-5) / (2^(bits-1) - 1)`.
    ///
    /// With 2 bits the codes are -1, 0 and 1.
    Symmetric {
        /// Bits of a code, 2 to 8; 8 if absent in a file.
        #[serde(default = "eight", deserialize_with = "deserialize_bits")]
        bits: u8,
        /// Weights that share a step; those of an output channel if absent in a file.
        #[serde(default = "per_channel")]
        granularity: WeightGranularity,
    },
    /// Quantization of weights with trained step sizes (LSQ): `Q(W) = clamp(round(W / step), min, max) * step`,
    /// where `step` is a parameter.
    ///
    /// The step starts at `2 mean|W| / sqrt(max)` and is clamped to at least 1e-5. Its gradient is multiplied by
    /// `1 / sqrt(n * max)` for `n` weights per step, so that it moves about as fast as the weights. The
    /// gradient of the weights is that of LSQ for any estimator of the scheme.
    ///
    /// Source: [Learned Step Size Quantization](https://arxiv.org/abs/1902.08153).
    LearnedStep {
        /// Width of the codes; ternary if absent in a file.
        #[serde(default = "ternary")]
        width: BitWidth,
        /// Weights that share a step.
        #[serde(default)]
        granularity: WeightGranularity,
    },
}

fn eight() -> u8 {
    8
}

fn per_channel() -> WeightGranularity {
    WeightGranularity::PerChannel
}

fn ternary() -> BitWidth {
    BitWidth::Ternary
}

impl WeightQuantizer {
    /// Returns the fields of a quantizer with trained step sizes.
    pub(crate) fn as_learned_step(&self) -> Option<LearnedStepConfig> {
        match *self {
            Self::LearnedStep { width, .. } => Some(LearnedStepConfig { width }),
            _ => None,
        }
    }

    /// Returns the information in a code, in bits: `log2(3)` for ternary codes.
    pub fn bits(&self) -> f64 {
        match *self {
            Self::Ternary { .. } => BitWidth::Ternary.bits(),
            Self::Binary { .. } => 1.0,
            Self::Symmetric { bits, .. } => f64::from(bits),
            Self::LearnedStep { width, .. } => width.bits(),
        }
    }

    /// Returns the range of codes, which are multiplied by a scale.
    pub fn codes(&self) -> QuantRange {
        match *self {
            Self::Ternary { .. } | Self::Binary { .. } => QuantRange::TERNARY,
            Self::Symmetric { bits, .. } => QuantRange::signed(bits),
            Self::LearnedStep { width, .. } => width.codes(),
        }
    }

    /// Returns the granularity of the scales.
    pub fn granularity(&self) -> WeightGranularity {
        match *self {
            Self::Ternary { granularity, .. }
            | Self::Binary { granularity }
            | Self::Symmetric { granularity, .. }
            | Self::LearnedStep { granularity, .. } => granularity,
        }
    }

    /// Checks the numbers of the configuration.
    pub(crate) fn validate(&self) -> Result<(), OutOfBounds> {
        match *self {
            Self::Ternary { .. } | Self::Binary { .. } => Ok(()),
            Self::Symmetric { bits, .. } => check_bits(bits),
            Self::LearnedStep { width, .. } => width.validate(),
        }?;
        self.granularity().validate()
    }

    /// Sets the granularity of computed scales; trained step sizes keep their own.
    pub(crate) fn with_computed_granularity(self, granularity: WeightGranularity) -> Self {
        match self {
            Self::LearnedStep { .. } => self,
            _ => self.with_granularity(granularity),
        }
    }

    /// Returns the groups of a weight; see [`WeightGranularity::groups`].
    ///
    /// # Errors
    ///
    /// If the granularity does not fit the shape.
    pub fn groups(&self, shape: &[usize], output_axis: usize) -> Result<Groups, GranularityError> {
        self.granularity().groups(shape, output_axis)
    }

    /// Returns the quantized weight and its scales: every value is a small integer times the scale of its
    /// group.
    ///
    /// Trained step sizes have their initial values here; [`FakeQuant`](crate::qat::FakeQuant) holds the
    /// trained ones.
    pub(crate) fn quantize<const D: usize>(
        &self,
        weight: Tensor<D>,
        groups: Groups,
    ) -> QuantizedWeight<D> {
        match *self {
            Self::Ternary { scale, .. } => scale.quantize(weight, groups),
            Self::Binary { .. } => binary::quantize(weight, groups),
            Self::Symmetric { bits, .. } => symmetric::quantize(weight, groups, bits),
            Self::LearnedStep { width, .. } => {
                let config = LearnedStepConfig { width };
                let scales = config.initial_scales(weight.clone(), groups);
                config.quantize(weight, scales, groups)
            }
        }
    }

    /// Returns the fake-quantized weight and its scales, with the gradient of `ste`.
    ///
    /// Trained step sizes have their initial values here; [`FakeQuant`](crate::qat::FakeQuant) trains them.
    ///
    /// # Panics
    ///
    /// If `groups` does not cover the weight.
    #[track_caller]
    pub fn fake_quant<const D: usize>(
        &self,
        weight: Tensor<D>,
        groups: Groups,
        ste: Ste,
    ) -> (Tensor<D>, Tensor<2>) {
        if let (Self::Ternary { scale, .. }, Ste::Identity) = (self, ste)
            && scale.is_absmean()
        {
            // The default of BitNet is one operation.
            return ternary_fake_quant(weight, groups);
        }
        if groups.num_elements() == 0 {
            let scales = Tensor::full(groups.scale_shape(), EPSILON, &weight.device());
            return (weight, scales);
        }
        if let Some(config) = self.as_learned_step() {
            let scales = config.initial_scales(weight.clone().detach(), groups);
            return (config.fake_quant(weight, scales.clone(), groups), scales);
        }
        let quantized = self.quantize(weight.clone().detach(), groups);
        let values = ste.apply(weight, quantized.values, quantized.levels);
        (values, quantized.scales)
    }

    /// Returns whether all codes are in {-1, 0, 1}, which [`pack`](Self::pack) stores in 2 bits.
    pub fn is_ternary(&self) -> bool {
        match *self {
            Self::Ternary { .. } | Self::Binary { .. } => true,
            // The largest magnitude has the code 1, so that -2 does not occur.
            Self::Symmetric { bits, .. } => bits == 2,
            Self::LearnedStep { width, .. } => width == BitWidth::Ternary,
        }
    }

    /// Packs the codes of a quantized weight, for the scales returned with it.
    ///
    /// # Panics
    ///
    /// If the codes are not [ternary](Self::is_ternary), or `groups` does not cover the weight.
    #[track_caller]
    pub fn pack<const D: usize>(
        &self,
        quantized: Tensor<D>,
        scales: Tensor<2>,
        groups: Groups,
    ) -> Tensor<D, Int> {
        assert!(
            self.is_ternary(),
            "only codes -1, 0 and 1 are packed, got the quantizer {self:?}"
        );
        ternary_pack(quantized, scales, groups)
    }
}

impl fmt::Display for WeightQuantizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ternary { scale, .. } => write!(f, "{scale} ternary")?,
            Self::Binary { .. } => f.write_str("binary")?,
            Self::Symmetric { bits, .. } => write!(f, "symmetric {bits} bits")?,
            Self::LearnedStep { width, .. } => write!(f, "learned step {width}")?,
        }
        write!(f, " {}", self.granularity())
    }
}

impl Default for WeightQuantizer {
    fn default() -> Self {
        Self::ternary(WeightGranularity::PerTensor)
    }
}
