use super::{TernaryScale, WeightQuantizer};
use crate::{
    base::{bits::check_bits, bounds::assert_valid},
    quant::{BitWidth, WeightGranularity},
};

impl WeightQuantizer {
    /// Creates an absmean ternary quantizer of the given granularity.
    ///
    /// # Panics
    ///
    /// If a group has no input features.
    #[track_caller]
    pub fn ternary(granularity: WeightGranularity) -> Self {
        assert_valid(granularity.validate());
        let scale = TernaryScale::Absmean;
        Self::Ternary { granularity, scale }
    }

    /// Creates a quantizer with binary weights of the given granularity.
    ///
    /// # Panics
    ///
    /// If a group has no input features.
    #[track_caller]
    pub fn binary(granularity: WeightGranularity) -> Self {
        assert_valid(granularity.validate());
        Self::Binary { granularity }
    }

    /// Creates a symmetric quantizer with `bits` bits and one step per output channel.
    ///
    /// # Panics
    ///
    /// If the number of bits is not in 2..=8.
    #[track_caller]
    pub fn symmetric(bits: u8) -> Self {
        assert_valid(check_bits(bits));
        let granularity = WeightGranularity::PerChannel;
        Self::Symmetric { bits, granularity }
    }

    /// Creates a quantizer with codes of the given width and one trained step for the whole weight.
    ///
    /// # Panics
    ///
    /// If the number of bits is not in 2..=8.
    #[track_caller]
    pub fn learned_step(width: BitWidth) -> Self {
        assert_valid(width.validate());
        let granularity = WeightGranularity::PerTensor;
        Self::LearnedStep { width, granularity }
    }

    /// Sets the granularity.
    ///
    /// # Panics
    ///
    /// If a group has no input features.
    #[track_caller]
    #[must_use]
    pub fn with_granularity(mut self, of_scales: WeightGranularity) -> Self {
        assert_valid(of_scales.validate());
        match &mut self {
            Self::Ternary { granularity, .. }
            | Self::Binary { granularity }
            | Self::Symmetric { granularity, .. }
            | Self::LearnedStep { granularity, .. } => *granularity = of_scales,
        }
        self
    }
}
