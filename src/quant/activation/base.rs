use core::fmt;

use burn::tensor::Tensor;
use derive_more::From;
use serde::{Deserialize, Serialize};

use super::{
    AbsmaxConfig, AbsmeanConfig, AsymmetricConfig, LearnedActivationConfig, StaticConfig,
    TopKConfig,
};
use crate::{
    base::{bits::check_bits, bounds::OutOfBounds},
    quant::Ste,
};

/// Quantizer of activations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, From)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ActivationQuantizer {
    /// Symmetric, scaled by the largest magnitude.
    Absmax(AbsmaxConfig),
    /// Scaled by the smallest and the largest value, with a zero point.
    Asymmetric(AsymmetricConfig),
    /// Symmetric, scaled by the mean magnitude; the 4-bit activations of BitNet a4.8 and v2.
    Absmean(AbsmeanConfig),
    /// Sparse: the largest magnitudes of each token, the others zero; BitNet a4.8.
    TopK(TopKConfig),
    /// Static, with a range from calibration.
    Static(StaticConfig),
    /// Trained step size and offset, LSQ and LSQ+.
    LearnedStep(LearnedActivationConfig),
}

impl ActivationQuantizer {
    /// Returns the number of bits of a code.
    pub fn bits(&self) -> u8 {
        match self {
            Self::Absmax(config) => config.bits,
            Self::Asymmetric(config) => config.bits,
            Self::Absmean(config) => config.bits,
            Self::TopK(config) => config.bits,
            Self::Static(config) => config.bits,
            Self::LearnedStep(config) => config.bits,
        }
    }

    /// Checks the numbers of the configuration.
    pub(crate) fn validate(&self) -> Result<(), OutOfBounds> {
        check_bits(self.bits())?;
        match self {
            Self::TopK(config) => config.validate(),
            Self::LearnedStep(config) => config.validate(),
            _ => Ok(()),
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
        match self {
            Self::Absmax(config) => config.fake_quant(x, ste),
            Self::Asymmetric(config) => config.fake_quant(x, ste),
            Self::Absmean(config) => config.fake_quant(x, ste),
            Self::TopK(config) => config.fake_quant(x, ste),
            Self::Static(config) => config.fake_quant(x, None, ste),
            Self::LearnedStep(config) => {
                let [steps, offsets] = config.initial_parameters(&x.device());
                config.fake_quant(x, steps, offsets)
            }
        }
    }
}

impl fmt::Display for ActivationQuantizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.bits();
        match self {
            Self::Absmax(config) => write!(f, "absmax {bits} bits {}", config.granularity),
            Self::Asymmetric(config) => write!(f, "asymmetric {bits} bits {}", config.granularity),
            Self::Absmean(config) => write!(f, "absmean {bits} bits {}", config.granularity),
            Self::TopK(config) => write!(f, "top {} of a token, {bits} bits", config.keep),
            Self::Static(config) if config.symmetric => write!(f, "static {bits} bits, symmetric"),
            Self::Static(_) => write!(f, "static {bits} bits"),
            Self::LearnedStep(config) if config.offset => {
                write!(f, "learned step and offset {bits} bits")
            }
            Self::LearnedStep(_) => write!(f, "learned step {bits} bits"),
        }
    }
}
