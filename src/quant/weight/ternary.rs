use core::fmt;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::QuantizedWeight;
use crate::{
    functions::ternary_fake_quant,
    ops::{Groups, QuantRange},
    quant::group::GroupedValues,
};

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

impl fmt::Display for TernaryScale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absmean => "absmean",
            Self::Absmedian => "absmedian",
        })
    }
}

impl TernaryScale {
    pub(super) fn is_absmean(&self) -> bool {
        *self == Self::Absmean
    }

    /// Quantizes a weight with this scale.
    pub(super) fn quantize<const D: usize>(
        self,
        weight: Tensor<D>,
        groups: Groups,
    ) -> QuantizedWeight<D> {
        let codes = QuantRange::TERNARY;
        match self {
            Self::Absmean => {
                let (values, gamma) = ternary_fake_quant(weight, groups);
                QuantizedWeight::symmetric(values, gamma, groups, codes)
            }
            Self::Absmedian => {
                let gamma = GroupedValues::new(weight.clone(), groups).absmedian();
                QuantizedWeight::rounded(weight, gamma, groups, codes)
            }
        }
    }
}
