use core::fmt;

use burn::tensor::{Int, Tensor};
use derive_more::From;
use serde::{Deserialize, Serialize};

use super::{BinaryConfig, QuantizedWeight, SymmetricConfig, TernaryConfig, TernaryScale};

use crate::{
    base::{bits::check_bits, bounds::OutOfBounds},
    functions::{ternary_fake_quant, ternary_pack},
    ops::{CodeRange, EPSILON, Groups},
    quant::{BitWidth, GranularityError, LearnedStepConfig, Ste, WeightGranularity},
};

/// Quantizer of weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, From)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WeightQuantizer {
    /// Ternary weights of BitNet b1.58.
    Ternary(TernaryConfig),
    /// Binary weights of BitNet b1, by the sign around the mean.
    Binary(BinaryConfig),
    /// Signed codes of 2 to 8 bits, scaled by the largest magnitude.
    Symmetric(SymmetricConfig),
    /// Ternary or 2 to 8 bits with trained step sizes, LSQ.
    LearnedStep(LearnedStepConfig),
}

impl WeightQuantizer {
    /// Returns the information in a code, in bits: `log2(3)` for ternary codes.
    pub fn bits(&self) -> f64 {
        match self {
            Self::Ternary(_) => BitWidth::Ternary.bits(),
            Self::Binary(_) => 1.0,
            Self::Symmetric(config) => config.bits as f64,
            Self::LearnedStep(config) => config.width.bits(),
        }
    }

    /// Returns the range of codes, which are multiplied by a scale.
    pub fn codes(&self) -> CodeRange {
        match self {
            Self::Ternary(_) | Self::Binary(_) => CodeRange::TERNARY,
            Self::Symmetric(config) => CodeRange::signed(config.bits),
            Self::LearnedStep(config) => config.width.codes(),
        }
    }

    /// Returns the granularity of the scales.
    pub fn granularity(&self) -> WeightGranularity {
        match self {
            Self::Ternary(config) => config.granularity,
            Self::Binary(config) => config.granularity,
            Self::Symmetric(config) => config.granularity,
            Self::LearnedStep(config) => config.granularity,
        }
    }

    /// Checks the numbers of the configuration.
    pub(crate) fn validate(&self) -> Result<(), OutOfBounds> {
        match self {
            Self::Ternary(_) | Self::Binary(_) => Ok(()),
            Self::Symmetric(config) => check_bits(config.bits),
            Self::LearnedStep(config) => config.width.validate(),
        }?;
        self.granularity().validate()
    }

    /// Sets the granularity; trained step sizes keep their own.
    pub(crate) fn with_granularity(mut self, granularity: WeightGranularity) -> Self {
        match &mut self {
            Self::Ternary(config) => config.granularity = granularity,
            Self::Binary(config) => config.granularity = granularity,
            Self::Symmetric(config) => config.granularity = granularity,
            Self::LearnedStep(_) => {}
        }
        self
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
        match self {
            Self::Ternary(config) => config.quantize(weight, groups),
            Self::Binary(config) => config.quantize(weight, groups),
            Self::Symmetric(config) => config.quantize(weight, groups),
            Self::LearnedStep(config) => {
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
        if let (Self::Ternary(config), Ste::Identity) = (self, ste)
            && config.scale == TernaryScale::Absmean
        {
            // The default of BitNet is one operation.
            return ternary_fake_quant(weight, groups);
        }
        if groups.num_elements() == 0 {
            let scales = Tensor::full(groups.scale_shape(), EPSILON, &weight.device());
            return (weight, scales);
        }
        if let Self::LearnedStep(config) = self {
            let scales = config.initial_scales(weight.clone().detach(), groups);
            return (config.fake_quant(weight, scales.clone(), groups), scales);
        }
        let quantized = self.quantize(weight.clone().detach(), groups);
        let values = ste.apply(weight, quantized.values, quantized.levels);
        (values, quantized.scales)
    }

    /// Returns whether all codes are in {-1, 0, 1}, which [`pack`](Self::pack) stores in 2 bits.
    pub fn is_ternary(&self) -> bool {
        match self {
            Self::Ternary(_) | Self::Binary(_) => true,
            // The largest magnitude has the code 1, so that -2 does not occur.
            Self::Symmetric(config) => config.bits == 2,
            Self::LearnedStep(config) => config.width == BitWidth::Ternary,
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
            Self::Ternary(config) => write!(f, "{} ternary", config.scale)?,
            Self::Binary(_) => f.write_str("binary")?,
            Self::Symmetric(config) => write!(f, "symmetric {} bits", config.bits)?,
            Self::LearnedStep(config) => write!(f, "learned step {}", config.width)?,
        }
        write!(f, " {}", self.granularity())
    }
}

impl Default for WeightQuantizer {
    fn default() -> Self {
        TernaryConfig::default().into()
    }
}
