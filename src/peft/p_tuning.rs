use core::fmt;

use serde::{Deserialize, Serialize};

use super::{
    PeftError, PromptSize,
    prompt_host::{PromptHost, check_positive},
};
use crate::nn::{Prompt, PromptEncoder};

/// Configuration of [P-tuning](https://arxiv.org/abs/2103.10385): embeddings before those of the tokens, which a
/// [perceptron](PromptEncoder::p_tuning) computes while they train, `relu(relu(E W1 + b1) W2 + b2) W3 + b3`. Its output
/// takes its place in files.
///
/// P-tuning v2 is [prefix tuning](super::PrefixTuningConfig) without projection.
///
/// Fields and defaults are those of peft's `PromptEncoderConfig`.
///
/// # Example
///
/// ```
/// use bitnet_burn::peft::PTuningConfig;
///
/// let config = PTuningConfig::new(20).with_encoder_hidden_size(128);
/// assert_eq!(config.to_string(), "P-tuning with 20 virtual tokens");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PTuningConfig {
    /// Number of virtual tokens.
    pub num_virtual_tokens: usize,
    /// Hidden size of the perceptron; `None` for that of the model.
    #[serde(default)]
    pub encoder_hidden_size: Option<usize>,
    /// Modules that train as a whole, such as `lm_head`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules_to_save: Vec<String>,
    /// Sizes of the model.
    #[serde(flatten)]
    pub size: PromptSize,
}

impl PTuningConfig {
    /// Creates the configuration of a number of virtual tokens.
    pub fn new(num_virtual_tokens: usize) -> Self {
        Self {
            num_virtual_tokens,
            encoder_hidden_size: None,
            modules_to_save: Vec::new(),
            size: PromptSize::default(),
        }
    }

    /// Sets the hidden size of the perceptron.
    #[must_use]
    pub fn with_encoder_hidden_size(mut self, encoder_hidden_size: usize) -> Self {
        self.encoder_hidden_size = Some(encoder_hidden_size);
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// The first value out of its bounds.
    pub fn validate(&self) -> Result<(), PeftError> {
        check_positive("num_virtual_tokens", Some(self.num_virtual_tokens))?;
        check_positive("encoder_hidden_size", self.encoder_hidden_size)
    }

    pub(super) fn prompt(&self, name: &str, host: &PromptHost) -> Result<Prompt, PeftError> {
        self.validate()?;
        host.check_length(self.num_virtual_tokens)?;
        let d_model = host.input_size(&self.size)?;
        let d_hidden = self.encoder_hidden_size.unwrap_or(d_model);
        let encoder = PromptEncoder::p_tuning(d_model, d_hidden, &host.device);
        let embedding = host.normal([self.num_virtual_tokens, d_model]);
        Ok(Prompt::input(name, embedding).with_encoder(encoder))
    }
}

impl fmt::Display for PTuningConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = self.num_virtual_tokens;
        write!(f, "P-tuning with {tokens} virtual tokens")
    }
}
