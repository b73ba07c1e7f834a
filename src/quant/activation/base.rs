use core::fmt;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{
    AbsmaxConfig, AbsmeanConfig, AsymmetricConfig, LearnedActivationConfig, StaticConfig,
    TopKConfig,
    learned_step::{check_absmean, deserialize_absmean},
    top_k::deserialize_keep,
};
use crate::{
    base::{
        bits::{check_bits, deserialize_bits},
        bounds::OutOfBounds,
    },
    quant::{ActivationGranularity, Ste},
};

/// Quantizer of activations.
///
/// In a file, a missing number of bits is 8, of [`Absmean`](Self::Absmean) 4.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ActivationQuantizer {
    /// Symmetric quantization of activations: `clamp(round(x * s)) / s` with
    /// `s = (2^(bits-1) - 1) / max(max|x|, 1e-5)`.
    ///
    /// Source: [The Era of 1-bit LLMs](https://arxiv.org/abs/2402.17764) (8 bits per token).
    Absmax {
        /// Bits of a code, 2 to 8.
        #[serde(default = "eight", deserialize_with = "deserialize_bits")]
        bits: u8,
        /// Values that share a scale.
        #[serde(default)]
        granularity: ActivationGranularity,
    },
    /// Asymmetric quantization of activations between their smallest and largest value:
    /// `(clamp(round(x / step) + zero_point, 0, max) - zero_point) * step` with `max = 2^bits - 1`,
    /// `step = max((max x - min x) / max, 1e-5 / max)` and `zero_point = round(-min x / step)`.
    ///
    /// Both ends include 0, which is represented exactly.
    ///
    /// Source: [Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    /// Inference](https://arxiv.org/abs/1712.05877).
    Asymmetric {
        /// Bits of a code, 2 to 8.
        #[serde(default = "eight", deserialize_with = "deserialize_bits")]
        bits: u8,
        /// Values that share a scale.
        #[serde(default)]
        granularity: ActivationGranularity,
    },
    /// Symmetric quantization of activations by the mean magnitude `beta = max(mean|x|, 1e-5)`:
    /// `clamp(round(x * sqrt(max) / beta), -max - 1, max) * beta / sqrt(max)` with
    /// `max = 2^(bits-1) - 1`.
    ///
    /// Values beyond `sqrt(max)` mean magnitudes are clamped. Suitable as 4 bits for inputs with few outliers.
    /// (The papers add a tiny epsilon to `beta`; here it is a lower bound, as for the other quantizers.)
    ///
    /// Sources: [BitNet a4.8](https://arxiv.org/abs/2411.04965),
    /// [BitNet v2](https://arxiv.org/abs/2504.18415).
    Absmean {
        /// Bits of a code, 2 to 8.
        #[serde(default = "four", deserialize_with = "deserialize_bits")]
        bits: u8,
        /// Values that share a scale.
        #[serde(default)]
        granularity: ActivationGranularity,
    },
    /// Sparse quantization of activations: the `keep` largest magnitudes of each token are quantized by
    /// absmax, the others are zero. All magnitudes equal to the smallest one kept are kept.
    ///
    /// The gradient of the estimator passes to all values, also to the zeroed ones.
    ///
    /// Sources: [Q-Sparse](https://arxiv.org/abs/2407.10969),
    /// [BitNet a4.8](https://arxiv.org/abs/2411.04965) (half of the inputs of the output projection,
    /// 8 bits).
    TopK {
        /// Share of the values that are kept, above 0 and at most 1; half of them by default.
        #[serde(default = "half", deserialize_with = "deserialize_keep")]
        keep: f64,
        /// Bits of a code, 2 to 8.
        #[serde(default = "eight", deserialize_with = "deserialize_bits")]
        bits: u8,
    },
    /// Quantization of activations with a fixed step size and zero point from calibration. A forward pass
    /// computes no statistics of the values, as integer accelerators require.
    ///
    /// Before calibration each tensor is scaled by its largest magnitude.
    ///
    /// Source: [Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    /// Inference](https://arxiv.org/abs/1712.05877).
    Static {
        /// Bits of a code, 2 to 8.
        #[serde(default = "eight", deserialize_with = "deserialize_bits")]
        bits: u8,
        /// `true` for signed codes and the zero point 0, as by default.
        #[serde(default = "yes")]
        symmetric: bool,
    },
    /// Quantization of activations with a trained step size and, if asymmetric, a trained offset (LSQ, LSQ+):
    /// `(clamp(round(v), min, max) - z) * step` with `z = -offset / step` and `v = x / step + z`.
    ///
    /// There is one step and offset for the whole tensor. The step starts at `2 absmean / sqrt(max)`, the
    /// offset at the value that maps zero to the middle of the codes. The gradient of the activations is that
    /// of LSQ for any estimator of the scheme.
    ///
    /// Sources: [Learned Step Size Quantization](https://arxiv.org/abs/1902.08153),
    /// [LSQ+](https://arxiv.org/abs/2004.09576).
    LearnedStep {
        /// Bits of a code, 2 to 8.
        #[serde(default = "eight", deserialize_with = "deserialize_bits")]
        bits: u8,
        /// `true` to train an offset, with unsigned codes (LSQ+).
        #[serde(default)]
        offset: bool,
        /// Expected mean magnitude of the activations, for the initial step. 0.8, the default, is that of normally
        /// distributed ones after a norm. Positive and finite.
        #[serde(default = "of_normal_values", deserialize_with = "deserialize_absmean")]
        absmean: f32,
    },
}

fn eight() -> u8 {
    8
}

fn four() -> u8 {
    4
}

fn half() -> f64 {
    0.5
}

fn yes() -> bool {
    true
}

fn of_normal_values() -> f32 {
    0.8
}

impl ActivationQuantizer {
    /// Returns the number of bits of a code.
    pub fn bits(&self) -> u8 {
        match *self {
            Self::Absmax { bits, .. }
            | Self::Asymmetric { bits, .. }
            | Self::Absmean { bits, .. }
            | Self::TopK { bits, .. }
            | Self::Static { bits, .. }
            | Self::LearnedStep { bits, .. } => bits,
        }
    }

    /// Checks the numbers of the configuration.
    pub(crate) fn validate(&self) -> Result<(), OutOfBounds> {
        check_bits(self.bits())?;
        match *self {
            Self::TopK { bits, keep } => TopKConfig { bits, keep }.validate(),
            Self::LearnedStep { absmean, .. } => check_absmean(absmean),
            _ => Ok(()),
        }
    }

    /// Returns the fields of a static quantizer.
    pub(crate) fn as_static(&self) -> Option<StaticConfig> {
        match *self {
            Self::Static { bits, symmetric } => Some(StaticConfig { bits, symmetric }),
            _ => None,
        }
    }

    /// Returns the fields of a quantizer with a trained step size.
    pub(crate) fn as_learned_step(&self) -> Option<LearnedActivationConfig> {
        match *self {
            Self::LearnedStep {
                bits,
                offset,
                absmean,
            } => Some(LearnedActivationConfig {
                bits,
                offset,
                absmean,
            }),
            _ => None,
        }
    }

    /// Returns the fake-quantized activation, with the gradient of `ste`.
    ///
    /// Static and trained quantizers have parameters, held by
    /// [`ActivationFakeQuant`](crate::qat::ActivationFakeQuant); this function uses their initial values.
    ///
    /// # Panics
    ///
    /// If the number of bits is not in 2..=8, or a configured share not in 0..=1.
    #[track_caller]
    pub fn fake_quant<const D: usize>(&self, x: Tensor<D>, ste: Ste) -> Tensor<D> {
        if x.shape().num_elements() == 0 {
            return x;
        }
        match *self {
            Self::Absmax { bits, granularity } => {
                AbsmaxConfig { bits, granularity }.fake_quant(x, ste)
            }
            Self::Asymmetric { bits, granularity } => {
                AsymmetricConfig { bits, granularity }.fake_quant(x, ste)
            }
            Self::Absmean { bits, granularity } => {
                AbsmeanConfig { bits, granularity }.fake_quant(x, ste)
            }
            Self::TopK { keep, bits } => TopKConfig { keep, bits }.fake_quant(x, ste),
            Self::Static { bits, symmetric } => {
                StaticConfig { bits, symmetric }.fake_quant(x, None, ste)
            }
            Self::LearnedStep {
                bits,
                offset,
                absmean,
            } => {
                let config = LearnedActivationConfig {
                    bits,
                    offset,
                    absmean,
                };
                let [steps, offsets] = config.initial_parameters(&x.device());
                config.fake_quant(x, steps, offsets)
            }
        }
    }
}

impl fmt::Display for ActivationQuantizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absmax { bits, granularity } => write!(f, "absmax {bits} bits {granularity}"),
            Self::Asymmetric { bits, granularity } => {
                write!(f, "asymmetric {bits} bits {granularity}")
            }
            Self::Absmean { bits, granularity } => write!(f, "absmean {bits} bits {granularity}"),
            Self::TopK { keep, bits } => write!(f, "top {keep} of a token, {bits} bits"),
            Self::Static {
                bits,
                symmetric: true,
            } => write!(f, "static {bits} bits, symmetric"),
            Self::Static {
                bits,
                symmetric: false,
            } => write!(f, "static {bits} bits"),
            Self::LearnedStep {
                bits, offset: true, ..
            } => {
                write!(f, "learned step and offset {bits} bits")
            }
            Self::LearnedStep {
                bits,
                offset: false,
                ..
            } => write!(f, "learned step {bits} bits"),
        }
    }
}
