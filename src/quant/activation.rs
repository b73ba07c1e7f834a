use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{ActivationGranularity, Ste};
use crate::functions::absmax_fake_quant;

/// Quantiser of activations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ActivationQuantizer {
    /// Symmetric, scaled by the largest magnitude.
    Absmax(AbsmaxConfig),
}

/// Symmetric activations: `clamp(round(x * s))` with `s = (2^(bits-1) - 1) / max(max|x|, 1e-5)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AbsmaxConfig {
    /// Bits of a code, 2 to 8.
    #[serde(deserialize_with = "deserialize_bits")]
    pub bits: u8,
    /// Which activations share a scale.
    pub granularity: ActivationGranularity,
}

fn deserialize_bits<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let bits = u8::deserialize(deserializer)?;
    match bits {
        2..=8 => Ok(bits),
        _ => Err(serde::de::Error::custom(format!(
            "activations are quantised to 2 to 8 bits, got {bits}"
        ))),
    }
}

impl Default for AbsmaxConfig {
    /// 8 bits per token, as in BitNet b1.58.
    fn default() -> Self {
        Self {
            bits: 8,
            granularity: ActivationGranularity::PerToken,
        }
    }
}

impl From<AbsmaxConfig> for ActivationQuantizer {
    fn from(config: AbsmaxConfig) -> Self {
        Self::Absmax(config)
    }
}

impl ActivationQuantizer {
    /// Bits of a code.
    pub fn bits(&self) -> u8 {
        match self {
            Self::Absmax(config) => config.bits,
        }
    }

    /// The fake-quantised activation, with the gradient of `ste`.
    ///
    /// # Panics
    ///
    /// If the number of bits is not in 2..=8.
    pub fn fake_quant<const D: usize>(&self, x: Tensor<D>, ste: Ste) -> Tensor<D> {
        match (self, ste) {
            (Self::Absmax(config), Ste::Identity) => {
                let groups = config.granularity.groups(&x.dims());
                absmax_fake_quant(x, groups, config.bits).0
            }
        }
    }
}
