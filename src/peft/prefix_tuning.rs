use core::fmt;

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::Tensor,
};
use serde::{Deserialize, Serialize};

use super::{
    PeftError, PromptSize,
    prompt_host::{PromptHost, check_positive},
};
use crate::nn::{Prompt, PromptEncoder};

/// Initial values of a prefix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrefixInit {
    /// Normally distributed with a standard deviation of 1, or of an encoder with the initial values of linear layers:
    /// the default of peft.
    #[default]
    Normal,
    /// Keys and values of zero. They take part in the softmax, so that this changes the model, too.
    Zero,
}

/// Configuration of [prefix tuning](https://arxiv.org/abs/2101.00190): trained keys and values before those of the
/// tokens in every layer.
///
/// Without projection it is [P-tuning v2](https://arxiv.org/abs/2110.07602), and the keys and values train as they are.
/// With projection they are computed by a [perceptron](PromptEncoder::prefix), `tanh(E W1 + b1) W2 + b2`, whose output
/// takes its place in files.
///
/// Fields and defaults are those of peft's `PrefixTuningConfig`.
///
/// # Example
///
/// ```
/// use bitnet_burn::{nn::{BitNetLm, BitNetLmConfig}, peft::PrefixTuningConfig};
/// use burn::tensor::Device;
///
/// let lm: BitNetLm = BitNetLmConfig::new(64, 32, 2, 4, 48).init(&Device::default().autodiff());
/// let (lm, report) = lm.with_adapter("default", PrefixTuningConfig::new(5))?;
/// assert_eq!(report.num_trainable, 5 * 2 * 2 * 32);
/// assert_eq!(lm.model.n_virtual(), 5);
/// # Ok::<(), bitnet_burn::peft::PeftError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefixTuningConfig {
    /// Number of virtual tokens.
    pub num_virtual_tokens: usize,
    /// Computes keys and values by a perceptron while they train.
    #[serde(default)]
    pub prefix_projection: bool,
    /// Hidden size of the perceptron; `None` for that of a key.
    #[serde(default)]
    pub encoder_hidden_size: Option<usize>,
    /// Initial values.
    #[serde(default)]
    pub init_weights: PrefixInit,
    /// Modules that train as a whole, such as `lm_head`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules_to_save: Vec<String>,
    /// Sizes of the model.
    #[serde(flatten)]
    pub size: PromptSize,
}

impl PrefixTuningConfig {
    /// Creates the configuration of a number of virtual tokens, without projection.
    pub fn new(num_virtual_tokens: usize) -> Self {
        Self {
            num_virtual_tokens,
            prefix_projection: false,
            encoder_hidden_size: None,
            init_weights: PrefixInit::default(),
            modules_to_save: Vec::new(),
            size: PromptSize::default(),
        }
    }

    /// Computes keys and values by a perceptron with a hidden size; `None` for that of a key.
    #[must_use]
    pub fn with_projection(mut self, encoder_hidden_size: Option<usize>) -> Self {
        self.prefix_projection = true;
        self.encoder_hidden_size = encoder_hidden_size;
        self
    }

    /// Sets the initial values.
    #[must_use]
    pub fn with_init(mut self, init_weights: PrefixInit) -> Self {
        self.init_weights = init_weights;
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
        let (n, init) = (self.num_virtual_tokens, self.init_weights);
        let [token_dim, all] = host.prefix_sizes(&self.size)?;
        if !self.prefix_projection {
            return Ok(Prompt::prefix(
                name,
                match init {
                    PrefixInit::Normal => host.normal([n, all]),
                    PrefixInit::Zero => Tensor::zeros([n, all], &host.device),
                },
            ));
        }
        let d_hidden = self.encoder_hidden_size.unwrap_or(token_dim);
        let mut encoder = PromptEncoder::prefix([token_dim, d_hidden, all], &host.device);
        if init == PrefixInit::Zero {
            let last = encoder.layers.pop();
            (encoder.layers).extend(last.map(|last| last.map(&mut Zero)));
        }
        let embedding = host.normal([n, token_dim]);
        Ok(Prompt::prefix(name, embedding).with_encoder(encoder))
    }
}

/// Sets parameters to zero.
struct Zero;

impl ModuleMapper for Zero {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| {
            let trains = value.is_require_grad();
            value.zeros_like().set_require_grad(trains)
        })
    }
}

impl fmt::Display for PrefixTuningConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = self.num_virtual_tokens;
        write!(f, "Prefix tuning with {tokens} virtual tokens")?;
        match self.prefix_projection {
            true => f.write_str(", projected"),
            false => Ok(()),
        }
    }
}
