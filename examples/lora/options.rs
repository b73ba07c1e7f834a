//! Command line of the example.

use std::path::PathBuf;

use bitnet_burn_examples::{count, learning_rate};
use burn::tensor::Device;
use clap::{Parser, ValueEnum};

/// Trains LoRA adapters beside frozen weights: beside a packed BitNet character model that learns to write in
/// capitals, or beside a model of Hugging Face.
#[derive(Debug, Parser)]
#[command(name = "lora")]
pub struct Options {
    /// Folder of a model of Hugging Face with its tokenizer [default: train a character model]
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Text to adapt to [default: an excerpt of Shakespeare, in capitals for the character model]
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Form of the frozen weights of a model in full precision
    #[arg(long, value_name = "FORM", default_value = "float")]
    pub base: Base,
    /// Steps of the character model before its adaptation
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = count)]
    pub base_steps: usize,
    /// Steps of the adapters
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = count)]
    pub steps: usize,
    /// Their peak learning rate
    #[arg(long, value_name = "X", default_value_t = 2e-3, value_parser = learning_rate)]
    pub learning_rate: f64,
    /// Their rank
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = count)]
    pub rank: usize,
    /// Context of a model of Hugging Face in tokens
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = count)]
    pub context: usize,
    /// Compare ways to deploy the adapter of a model with latent weights, which trains others for comparison
    #[arg(long)]
    pub merging: bool,
    /// Folder for the adapter, as peft reads it
    #[arg(long, value_name = "DIR", default_value = "lora_out")]
    pub out: PathBuf,
    /// Seed of initialization and data order
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// flex, ndarray, cpu, wgpu, vulkan, metal, webgpu, cuda or rocm
    #[arg(long, value_name = "NAME", default_value = "flex", value_parser = bitnet_burn::device)]
    pub device: Device,
}

/// Form of frozen weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Base {
    /// As in the file
    Float,
    /// 4 bits: QLoRA
    Nf4,
}
