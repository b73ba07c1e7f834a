use burn::tensor::{Device, Distribution, Tensor};
use serde::{Deserialize, Serialize};

use super::{AdaptedLinear, AdapterBase, PeftError};
use crate::{base::bounds::OutOfBounds, nn::BitNetLm};

/// Sizes of the model that a prompt is for; those that are `None` are taken from the model.
///
/// peft writes them into its files. A model of other sizes is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PromptSize {
    /// Number of values of a token: `d_model` of an input prompt, `n_kv_heads d_head` of a prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_dim: Option<usize>,
    /// Number of layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_layers: Option<usize>,
    /// Number of heads of the keys; without effect on an input prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_attention_heads: Option<usize>,
}

/// Parts of a model that a prompt is made for.
pub(super) struct PromptHost {
    n_layers: usize,
    /// Number of heads of the keys, and the size of each.
    key_shape: [usize; 2],
    max_positions: usize,
    /// Embedding table, `[vocab_size, d_model]`.
    pub(super) table: Tensor<2>,
    pub(super) device: Device,
}

impl PromptHost {
    pub(super) fn of<P: AdapterBase>(lm: &BitNetLm<AdaptedLinear<P>>) -> Self {
        let table = lm.model.embed_tokens.weight.val();
        let layer = lm.model.layers.first();
        Self {
            n_layers: lm.model.layers.len(),
            key_shape: layer.map_or([0, 0], |layer| layer.self_attn.key_shape()),
            max_positions: lm.model.rotary.max_positions(),
            device: table.device(),
            table,
        }
    }

    /// Returns the sizes of a prefix: of a token in one layer, and of all its keys and values.
    ///
    /// # Errors
    ///
    /// If it is one of another model.
    pub(super) fn prefix_sizes(&self, size: &PromptSize) -> Result<[usize; 2], PeftError> {
        let [heads, d_head] = self.key_shape;
        let token_dim = heads * d_head;
        fits("token_dim", size.token_dim, token_dim)?;
        fits("num_attention_heads", size.num_attention_heads, heads)?;
        fits("num_layers", size.num_layers, self.n_layers)?;
        Ok([token_dim, 2 * self.n_layers * token_dim])
    }

    /// Returns the size of an input embedding.
    ///
    /// # Errors
    ///
    /// If it is that of another model.
    pub(super) fn input_size(&self, size: &PromptSize) -> Result<usize, PeftError> {
        let [_, d_model] = self.table.dims();
        fits("token_dim", size.token_dim, d_model)?;
        Ok(d_model)
    }

    /// Checks that a prompt leaves positions for tokens.
    pub(super) fn check_length(&self, num_virtual_tokens: usize) -> Result<(), PeftError> {
        match num_virtual_tokens < self.max_positions {
            true => Ok(()),
            false => Err(PeftError::PromptLength {
                num_virtual_tokens,
                max_positions: self.max_positions,
            }),
        }
    }

    /// Returns the initial values of an embedding of PyTorch: normally distributed, with a standard deviation of 1.
    pub(super) fn normal(&self, shape: [usize; 2]) -> Tensor<2> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &self.device)
    }
}

fn fits(field: &'static str, found: Option<usize>, expected: usize) -> Result<(), PeftError> {
    match found {
        Some(found) if found != expected => Err(PeftError::PromptSize {
            field,
            found,
            expected,
        }),
        _ => Ok(()),
    }
}

/// Checks a number of virtual tokens, or the hidden size of an encoder.
pub(super) fn check_positive(name: &str, value: Option<usize>) -> Result<(), PeftError> {
    let Some(value) = value else {
        return Ok(());
    };
    Ok(OutOfBounds::unless(value > 0, name, "1 or more", value)?)
}
