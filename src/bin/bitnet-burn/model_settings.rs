//! Settings of a model.

use std::path::{Path, PathBuf};

use bitnet_burn::nn::{BitNetLmConfig, GatedActivation};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::Failure;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// SwiGLU, supported by llama.cpp
    Silu,
    /// Squared ReLU of BitNet b1.58 2B4T, not supported by llama.cpp
    Relu2,
}

impl From<Activation> for GatedActivation {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::Silu => Self::Silu,
            Activation::Relu2 => Self::SquaredRelu,
        }
    }
}

impl TryFrom<GatedActivation> for Activation {
    type Error = Failure;

    fn try_from(activation: GatedActivation) -> Result<Self, Failure> {
        match activation {
            GatedActivation::Silu => Ok(Self::Silu),
            GatedActivation::SquaredRelu => Ok(Self::Relu2),
            other => Err(Failure::failed(format!(
                "the activation is {other:?}, expected silu or relu2"
            ))),
        }
    }
}

/// `[model]`: the model that is trained, from scratch or from a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// Model that is fine-tuned, with the sizes below; absent for training from scratch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<PathBuf>,
    pub d_model: usize,
    pub layers: usize,
    pub heads: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<usize>,
    pub d_ff: usize,
    pub activation: Activation,
    pub tied: bool,
    pub sub_norm: bool,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            source: None,
            d_model: 256,
            layers: 2,
            heads: 4,
            kv_heads: None,
            d_ff: 512,
            activation: Activation::Silu,
            tied: true,
            sub_norm: true,
        }
    }
}

impl ModelSettings {
    /// Returns the sizes of a model of a file.
    pub fn of_source(source: &Path, config: &BitNetLmConfig) -> Result<Self, Failure> {
        Ok(Self {
            source: Some(std::path::absolute(source).map_err(Failure::io(source))?),
            d_model: config.d_model,
            layers: config.n_layers,
            heads: config.n_heads,
            kv_heads: config.n_kv_heads,
            d_ff: config.d_ff,
            activation: config.activation.try_into()?,
            tied: config.tied_embeddings,
            sub_norm: config.sub_norm,
        })
    }

    pub fn config(&self, vocab_size: usize, context: usize) -> Result<BitNetLmConfig, Failure> {
        if let Some(source) = &self.source {
            return Err(Failure::usage(format!(
                "model.source is {0}: the settings are of a fine-tuned model, start it with \
                 `bitnet-burn finetune {0}`",
                source.display()
            )));
        }
        let (d_model, heads) = (self.d_model, self.heads);
        let kv_heads = self.kv_heads.unwrap_or(heads);
        for (name, size) in [
            ("--d-model", d_model),
            ("--layers", self.layers),
            ("--heads", heads),
            ("--kv-heads", kv_heads),
            ("--d-ff", self.d_ff),
            ("--context", context),
        ] {
            if size == 0 {
                return Err(Failure::usage(format!("{name} is 1 or more, got 0")));
            }
        }
        if !d_model.is_multiple_of(2 * heads) {
            return Err(Failure::usage(format!(
                "--d-model is a multiple of twice --heads, got {d_model} and {heads}"
            )));
        }
        if !heads.is_multiple_of(kv_heads) {
            return Err(Failure::usage(format!(
                "--heads is a multiple of --kv-heads, got {heads} and {kv_heads}"
            )));
        }
        Ok(
            BitNetLmConfig::new(vocab_size, d_model, self.layers, heads, self.d_ff)
                .with_n_kv_heads(self.kv_heads)
                .with_max_positions(context)
                .with_activation(self.activation.into())
                .with_tied_embeddings(self.tied)
                .with_sub_norm(self.sub_norm),
        )
    }
}
