use core::fmt;

use burn::tensor::{DType, Distribution, Int, Tensor};
use serde::{Deserialize, Serialize};

use super::{
    PeftError, PromptSize,
    prompt_host::{PromptHost, check_positive},
};
use crate::{base::bounds::OutOfBounds, nn::Prompt};

/// Initial values of an input prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PromptTuningInit {
    /// Normally distributed with a standard deviation of 1.
    #[default]
    Random,
    /// Embeddings of random tokens.
    SampleVocab,
    /// Embeddings of these tokens, repeated or cut to the virtual ones: what peft does with the tokens of a `TEXT`.
    Tokens(Vec<u32>),
}

/// Configuration of [prompt tuning](https://arxiv.org/abs/2104.08691): trained embeddings before those of the tokens.
///
/// Fields and defaults are those of peft's `PromptTuningConfig`.
///
/// # Example
///
/// ```
/// use bitnet_burn::{nn::{BitNetLm, BitNetLmConfig}, peft::{PromptTuningConfig, PromptTuningInit}};
/// use burn::tensor::Device;
///
/// let lm: BitNetLm = BitNetLmConfig::new(64, 32, 2, 4, 48).init(&Device::default().autodiff());
/// let classify = PromptTuningInit::Tokens(vec![7, 40, 2]);
/// let (lm, report) = lm.with_adapter("default", PromptTuningConfig::new(8).with_init(classify))?;
/// assert_eq!(report.num_trainable, 8 * 32);
/// assert!(lm.model.prompt.is_some());
/// # Ok::<(), bitnet_burn::peft::PeftError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptTuningConfig {
    /// Number of virtual tokens.
    pub num_virtual_tokens: usize,
    /// Initial values.
    #[serde(default)]
    pub prompt_tuning_init: PromptTuningInit,
    /// Modules that train as a whole, such as `lm_head`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules_to_save: Vec<String>,
    /// Sizes of the model.
    #[serde(flatten)]
    pub size: PromptSize,
}

impl PromptTuningConfig {
    /// Creates the configuration of a number of virtual tokens.
    pub fn new(num_virtual_tokens: usize) -> Self {
        Self {
            num_virtual_tokens,
            prompt_tuning_init: PromptTuningInit::default(),
            modules_to_save: Vec::new(),
            size: PromptSize::default(),
        }
    }

    /// Sets the initial values.
    #[must_use]
    pub fn with_init(mut self, prompt_tuning_init: PromptTuningInit) -> Self {
        self.prompt_tuning_init = prompt_tuning_init;
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// The first value out of its bounds.
    pub fn validate(&self) -> Result<(), PeftError> {
        check_positive("num_virtual_tokens", Some(self.num_virtual_tokens))?;
        match &self.prompt_tuning_init {
            PromptTuningInit::Tokens(tokens) => {
                check_positive("number of tokens of prompt_tuning_init", Some(tokens.len()))
            }
            PromptTuningInit::Random | PromptTuningInit::SampleVocab => Ok(()),
        }
    }

    pub(super) fn prompt(&self, name: &str, host: &PromptHost) -> Result<Prompt, PeftError> {
        self.validate()?;
        host.check_length(self.num_virtual_tokens)?;
        let (n, d_model) = (self.num_virtual_tokens, host.input_size(&self.size)?);
        let [vocab_size, _] = host.table.dims();
        let values = match &self.prompt_tuning_init {
            PromptTuningInit::Random => host.normal([n, d_model]),
            PromptTuningInit::SampleVocab => {
                let any = Distribution::Uniform(0.0, vocab_size as f64);
                let tokens = Tensor::<1>::random([n], any, &host.device).int();
                rows(host, tokens.clamp_max(vocab_size as i64 - 1))
            }
            PromptTuningInit::Tokens(tokens) => {
                check_tokens(tokens, vocab_size)?;
                let tokens = tokens.iter().cycle().take(n).map(|&token| token as i32);
                let tokens: Vec<i32> = tokens.collect();
                rows(host, Tensor::from_ints(tokens.as_slice(), &host.device))
            }
        };
        Ok(Prompt::input(name, values))
    }
}

/// Returns the embeddings of tokens, which train apart from the table.
fn rows(host: &PromptHost, tokens: Tensor<1, Int>) -> Tensor<2> {
    // A table that trains stays so when it is detached.
    let table = host.table.clone().detach().set_require_grad(false);
    table.select(0, tokens).cast(DType::F32)
}

fn check_tokens(tokens: &[u32], vocab_size: usize) -> Result<(), PeftError> {
    let beyond = tokens.iter().find(|&&token| token as usize >= vocab_size);
    match beyond {
        None => Ok(()),
        Some(token) => {
            let below = format!("a token below {vocab_size}");
            Err(OutOfBounds::new("prompt_tuning_init", &below, token).into())
        }
    }
}

impl fmt::Display for PromptTuningConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = self.num_virtual_tokens;
        write!(f, "Prompt tuning with {tokens} virtual tokens")
    }
}
