use core::fmt;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::{
    Adapter, AdapterBase, BitFitConfig, Ia3Config, LoraBias, LoraConfig, PeftError, Targets,
    targets::Selection,
};

/// Configuration of a method of parameter-efficient fine-tuning.
///
/// In files, `method` names it:
///
/// ```
/// use bitnet_burn::peft::{LoraConfig, PeftConfig};
///
/// let config: PeftConfig = serde_json::from_str(r#"{"method": "lora", "rank": 4}"#)?;
/// assert_eq!(config, LoraConfig::new(4).into());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, derive_more::From)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum PeftConfig {
    /// LoRA, rsLoRA or DoRA.
    Lora(LoraConfig),
    /// (IA)³.
    Ia3(Ia3Config),
    /// BitFit.
    #[serde(rename = "bitfit")]
    BitFit(BitFitConfig),
}

/// Creates the adapter of a projection from its name, the projection, and the device of the model; returns the
/// projection, whose weight an initialization may change, and the adapter.
pub(super) type Init<'a, P> = Box<dyn Fn(&str, P, &Device) -> Result<(P, Adapter), PeftError> + 'a>;

impl PeftConfig {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// The first value out of its bounds, or pattern that cannot be read.
    pub fn validate(&self) -> Result<(), PeftError> {
        match self {
            Self::Lora(config) => config.validate(),
            Self::Ia3(config) => config.validate(),
            Self::BitFit(config) => config.validate(),
        }
    }

    /// Returns the choice of the modules that get an adapter.
    pub fn targets(&self) -> &Targets {
        match self {
            Self::Lora(config) => &config.targets,
            Self::Ia3(config) => &config.targets,
            Self::BitFit(config) => &config.targets,
        }
    }

    /// Returns the modules that train as a whole beside the adapters.
    pub fn modules_to_save(&self) -> &[String] {
        match self {
            Self::Lora(config) => &config.modules_to_save,
            Self::Ia3(config) => &config.modules_to_save,
            Self::BitFit(config) => &config.modules_to_save,
        }
    }

    /// Returns the biases that train beside the adapters.
    pub fn bias(&self) -> LoraBias {
        match self {
            Self::Lora(config) => config.bias,
            Self::Ia3(_) | Self::BitFit(_) => LoraBias::None,
        }
    }

    pub(super) fn selection(&self) -> Result<Selection, PeftError> {
        self.targets().compile(self.modules_to_save())
    }

    pub(super) fn init<P: AdapterBase>(&self) -> Result<Init<'_, P>, PeftError> {
        match self {
            Self::Lora(config) => config.init(),
            Self::Ia3(config) => config.init(),
            Self::BitFit(config) => Ok(config.init()),
        }
    }
}

impl<T: Clone + Into<PeftConfig>> From<&T> for PeftConfig {
    fn from(config: &T) -> Self {
        config.clone().into()
    }
}

impl fmt::Display for PeftConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lora(config) => config.fmt(f),
            Self::Ia3(config) => config.fmt(f),
            Self::BitFit(config) => config.fmt(f),
        }
    }
}
