use core::fmt;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::QuantizedWeight;
use crate::{
    base::bounds::assert_valid,
    functions::ternary_fake_quant,
    ops::{CodeRange, Groups},
    quant::{WeightGranularity, group::GroupedValues},
};

/// Ternary quantization: `Q(W) = clamp(round(W / gamma), -1, 1) * gamma`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TernaryConfig {
    /// Weights that share a `gamma`.
    pub granularity: WeightGranularity,
    /// Definition of `gamma`.
    #[serde(skip_serializing_if = "TernaryScale::is_absmean")]
    pub scale: TernaryScale,
}

/// The scale `gamma` of ternary weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TernaryScale {
    /// Mean magnitude, `max(mean|W|, 1e-5)`, of BitNet b1.58.
    ///
    /// Source: [The Era of 1-bit LLMs](https://arxiv.org/abs/2402.17764).
    #[default]
    Absmean,
    /// Median magnitude, `max(median|W|, 1e-5)`, the lower of the two middle magnitudes of an even number: a
    /// scale that outliers do not move.
    ///
    /// Source: [BitNet b1.58 Reloaded](https://arxiv.org/abs/2407.09527).
    Absmedian,
}

impl TernaryScale {
    fn is_absmean(&self) -> bool {
        *self == Self::Absmean
    }
}

impl fmt::Display for TernaryScale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absmean => "absmean",
            Self::Absmedian => "absmedian",
        })
    }
}

impl TernaryConfig {
    /// Creates an absmean ternary quantizer of the given granularity.
    ///
    /// # Panics
    ///
    /// If a group has no input features.
    #[track_caller]
    pub fn new(granularity: WeightGranularity) -> Self {
        assert_valid(granularity.validate());
        Self {
            granularity,
            scale: TernaryScale::Absmean,
        }
    }

    /// Sets the scale `gamma`.
    #[must_use]
    pub fn with_scale(mut self, scale: TernaryScale) -> Self {
        self.scale = scale;
        self
    }

    pub(super) fn quantize<const D: usize>(
        &self,
        weight: Tensor<D>,
        groups: Groups,
    ) -> QuantizedWeight<D> {
        let codes = CodeRange::TERNARY;
        match self.scale {
            TernaryScale::Absmean => {
                let (values, gamma) = ternary_fake_quant(weight, groups);
                QuantizedWeight::symmetric(values, gamma, groups, codes)
            }
            TernaryScale::Absmedian => {
                let gamma = GroupedValues::new(weight.clone(), groups).absmedian();
                QuantizedWeight::rounded(weight, gamma, groups, codes)
            }
        }
    }
}
