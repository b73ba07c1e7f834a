use core::fmt;

use serde::{Deserialize, Serialize};

use super::{
    AdaLoraConfig, AdapterBase, BitFitConfig, Ia3Config, LoraBias, LoraConfig, PTuningConfig,
    PeftError, PrefixTuningConfig, PromptTuningConfig, Targets, adapter::Init,
    prompt_host::PromptHost,
};
use crate::nn::Prompt;

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
#[allow(clippy::large_enum_variant, reason = "a model has few")]
pub enum PeftConfig {
    /// LoRA, rsLoRA or DoRA.
    Lora(LoraConfig),
    /// AdaLoRA.
    #[serde(rename = "adalora")]
    AdaLora(AdaLoraConfig),
    /// (IA)³.
    Ia3(Ia3Config),
    /// BitFit.
    #[serde(rename = "bitfit")]
    BitFit(BitFitConfig),
    /// Keys and values before those of the tokens: prefix tuning, P-tuning v2.
    PrefixTuning(PrefixTuningConfig),
    /// Embeddings before those of the tokens, from a perceptron.
    PTuning(PTuningConfig),
    /// Embeddings before those of the tokens.
    PromptTuning(PromptTuningConfig),
}

/// Part that a method adds to a model.
pub(super) enum Addition<'a, P> {
    /// Adapters of the projections that are targets.
    Adapters(&'a Targets, Init<'a, P>),
    /// A prompt.
    Prompt(NewPrompt<'a>),
}

/// Rank of the adapter of a module.
#[cfg(feature = "interop")]
pub(crate) type Ranks<'a> = Box<dyn Fn(&str) -> Option<usize> + 'a>;

/// Creates the prompt of a name for a model.
pub(super) type NewPrompt<'a> = Box<dyn Fn(&str, &PromptHost) -> Result<Prompt, PeftError> + 'a>;

impl PeftConfig {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// The first value out of its bounds, or pattern that cannot be read.
    pub fn validate(&self) -> Result<(), PeftError> {
        match self {
            Self::Lora(config) => config.validate(),
            Self::AdaLora(config) => config.validate(),
            Self::Ia3(config) => config.validate(),
            Self::BitFit(config) => config.validate(),
            Self::PrefixTuning(config) => config.validate(),
            Self::PTuning(config) => config.validate(),
            Self::PromptTuning(config) => config.validate(),
        }
    }

    /// Returns the choice of the modules that get an adapter; `None` for a prompt, which adapts none.
    pub fn targets(&self) -> Option<&Targets> {
        match self {
            Self::Lora(config) => Some(&config.targets),
            Self::AdaLora(config) => Some(&config.targets),
            Self::Ia3(config) => Some(&config.targets),
            Self::BitFit(config) => Some(&config.targets),
            Self::PrefixTuning(_) | Self::PTuning(_) | Self::PromptTuning(_) => None,
        }
    }

    /// Returns the number of positions of the prompt, 0 of adapters: the model has so many fewer for tokens.
    pub fn num_virtual_tokens(&self) -> usize {
        match self {
            Self::Lora(_) | Self::AdaLora(_) | Self::Ia3(_) | Self::BitFit(_) => 0,
            Self::PrefixTuning(config) => config.num_virtual_tokens,
            Self::PTuning(config) => config.num_virtual_tokens,
            Self::PromptTuning(config) => config.num_virtual_tokens,
        }
    }

    /// Returns the modules that train as a whole beside the adapters.
    pub fn modules_to_save(&self) -> &[String] {
        match self {
            Self::Lora(config) => &config.modules_to_save,
            Self::AdaLora(config) => &config.modules_to_save,
            Self::Ia3(config) => &config.modules_to_save,
            Self::BitFit(config) => &config.modules_to_save,
            Self::PrefixTuning(config) => &config.modules_to_save,
            Self::PTuning(config) => &config.modules_to_save,
            Self::PromptTuning(config) => &config.modules_to_save,
        }
    }

    /// Returns the biases that train beside the adapters.
    pub fn bias(&self) -> LoraBias {
        match self {
            Self::Lora(config) => config.bias,
            Self::AdaLora(config) => config.bias,
            _ => LoraBias::None,
        }
    }

    pub(super) fn addition<P: AdapterBase>(&self) -> Result<Addition<'_, P>, PeftError> {
        Ok(match self {
            Self::Lora(config) => Addition::Adapters(&config.targets, config.init()?),
            Self::AdaLora(config) => Addition::Adapters(&config.targets, config.init()?),
            Self::Ia3(config) => Addition::Adapters(&config.targets, config.init()?),
            Self::BitFit(config) => Addition::Adapters(&config.targets, config.init()),
            Self::PrefixTuning(config) => {
                Addition::Prompt(Box::new(|name, host| config.prompt(name, host)))
            }
            Self::PTuning(config) => {
                Addition::Prompt(Box::new(|name, host| config.prompt(name, host)))
            }
            Self::PromptTuning(config) => {
                Addition::Prompt(Box::new(|name, host| config.prompt(name, host)))
            }
        })
    }
}

#[cfg(feature = "interop")]
impl PeftConfig {
    /// Returns the rank of the adapter of a module by its name; `None` if the model alone gives its size.
    pub(crate) fn ranks(&self) -> Result<Ranks<'_>, PeftError> {
        Ok(match self {
            Self::Lora(config) => {
                let compiled = config.compile()?;
                Box::new(move |module| Some(compiled.rank_and_scaling(config, module).0))
            }
            Self::AdaLora(config) => Box::new(|_| Some(config.init_r)),
            _ => Box::new(|_| None),
        })
    }

    /// Adds a new adapter of a module to a projection.
    pub(crate) fn adapt<P: AdapterBase>(
        &self,
        module: &str,
        base: P,
        name: &str,
        device: &burn::tensor::Device,
    ) -> Result<super::AdaptedLinear<P>, PeftError> {
        match self.addition()? {
            Addition::Adapters(_, init) => {
                let (base, adapter) = init(module, base, device)?;
                Ok(super::AdaptedLinear::new(base).with_adapter(name, adapter))
            }
            Addition::Prompt(_) => Err(PeftError::PromptOfProjection),
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
            Self::AdaLora(config) => config.fmt(f),
            Self::Ia3(config) => config.fmt(f),
            Self::BitFit(config) => config.fmt(f),
            Self::PrefixTuning(config) => config.fmt(f),
            Self::PTuning(config) => config.fmt(f),
            Self::PromptTuning(config) => config.fmt(f),
        }
    }
}
