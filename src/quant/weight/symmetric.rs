use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::QuantizedWeight;
use crate::{
    base::{
        bits::{check_bits, deserialize_bits},
        bounds::assert_valid,
    },
    functions::group_statistic,
    ops::{CodeRange, Groups, Statistic},
    quant::WeightGranularity,
};

/// Symmetric quantization to 2 to 8 bits: `Q(W) = clamp(round(W / step), -2^(bits-1), 2^(bits-1) - 1) *
/// step` with `step = max(max|W|, 1e-5) / (2^(bits-1) - 1)`.
///
/// With 2 bits the codes are -1, 0 and 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SymmetricConfig {
    /// Bits of a code, 2 to 8.
    #[serde(deserialize_with = "deserialize_bits")]
    pub bits: u8,
    /// Weights that share a step.
    pub granularity: WeightGranularity,
}

impl SymmetricConfig {
    /// Creates a quantizer with `bits` bits and one step per output channel.
    ///
    /// # Panics
    ///
    /// If the number of bits is not in 2..=8.
    #[track_caller]
    pub fn new(bits: u8) -> Self {
        assert_valid(check_bits(bits));
        Self {
            bits,
            granularity: WeightGranularity::PerChannel,
        }
    }

    /// Sets the granularity.
    ///
    /// # Panics
    ///
    /// If a group has no input features.
    #[track_caller]
    #[must_use]
    pub fn with_granularity(mut self, granularity: WeightGranularity) -> Self {
        assert_valid(granularity.validate());
        self.granularity = granularity;
        self
    }

    pub(crate) fn quantize<const D: usize>(
        &self,
        weight: Tensor<D>,
        groups: Groups,
    ) -> QuantizedWeight<D> {
        let codes = CodeRange::signed(self.bits);
        let absmax = group_statistic(weight.clone(), groups, Statistic::AbsMax);
        let scales = absmax.div_scalar(codes.max);
        QuantizedWeight::rounded(weight, scales, groups, codes)
    }
}

impl Default for SymmetricConfig {
    fn default() -> Self {
        Self::new(8)
    }
}
