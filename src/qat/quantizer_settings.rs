use core::fmt;

use serde::{Deserialize, Serialize};

use crate::quant::{NoiseConfig, Ste};

/// Settings of a quantizer of a model: two models with equal settings of all quantizers train alike.
///
/// [`QuantControls::quantizers`](super::QuantControls::quantizers) returns those of a model, and
/// [checkpoints](crate::train::checkpoint) store them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantizerSettings {
    /// Description of the quantizer, such as `absmean ternary per tensor, outputs in dimension 1`.
    pub quantizer: String,
    /// Estimator of its gradient.
    pub ste: Ste,
    /// Noise during training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<NoiseConfig>,
}

impl QuantizerSettings {
    /// Creates the settings of a quantizer without noise.
    pub(super) fn new(quantizer: String, ste: Ste) -> Self {
        Self {
            quantizer,
            ste,
            noise: None,
        }
    }
}

impl fmt::Display for QuantizerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.quantizer)?;
        if self.ste != Ste::Identity {
            write!(f, ", {:?}", self.ste)?;
        }
        match &self.noise {
            Some(noise) => write!(f, ", noise {noise:?}"),
            None => Ok(()),
        }
    }
}
