use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{GranularityError, Ste, WeightGranularity};
use crate::{
    functions::{ternary_fake_quant, ternary_pack},
    ops::Groups,
};
use burn::tensor::Int;

/// Quantiser of weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WeightQuantizer {
    /// Absmean ternary, BitNet b1.58.
    Ternary(TernaryConfig),
}

/// Absmean ternary weights: codes {-1, 0, +1} times `gamma = max(mean|W|, 1e-5)`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TernaryConfig {
    /// Which weights share a `gamma`.
    pub granularity: WeightGranularity,
}

impl TernaryConfig {
    /// Ternary weights of the given granularity.
    pub fn new(granularity: WeightGranularity) -> Self {
        Self { granularity }
    }
}

impl From<TernaryConfig> for WeightQuantizer {
    fn from(config: TernaryConfig) -> Self {
        Self::Ternary(config)
    }
}

impl WeightQuantizer {
    /// Information in a code, in bits: `log2(3)` for ternary codes.
    pub fn bits(&self) -> f64 {
        match self {
            Self::Ternary(_) => 3f64.log2(),
        }
    }

    /// Which weights share a scale.
    pub fn granularity(&self) -> WeightGranularity {
        match self {
            Self::Ternary(config) => config.granularity,
        }
    }

    /// The groups of a weight; see [`WeightGranularity::groups`].
    ///
    /// # Errors
    ///
    /// If the granularity does not fit the shape.
    pub fn groups(&self, shape: &[usize], output_axis: usize) -> Result<Groups, GranularityError> {
        self.granularity().groups(shape, output_axis)
    }

    /// The fake-quantised weight and its scales, with the gradient of `ste`.
    ///
    /// # Panics
    ///
    /// If `groups` does not cover the weight.
    pub fn fake_quant<const D: usize>(
        &self,
        weight: Tensor<D>,
        groups: Groups,
        ste: Ste,
    ) -> (Tensor<D>, Tensor<2>) {
        match (self, ste) {
            (Self::Ternary(_), Ste::Identity) => ternary_fake_quant(weight, groups),
        }
    }

    /// The packed codes of a weight for scales that [`fake_quant`](Self::fake_quant) returned.
    ///
    /// # Panics
    ///
    /// If `groups` does not cover the weight.
    pub fn pack<const D: usize>(
        &self,
        weight: Tensor<D>,
        scales: Tensor<2>,
        groups: Groups,
    ) -> Tensor<D, Int> {
        match self {
            Self::Ternary(_) => ternary_pack(weight, scales, groups),
        }
    }
}

impl Default for WeightQuantizer {
    fn default() -> Self {
        TernaryConfig::default().into()
    }
}
