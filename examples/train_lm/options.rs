//! Command line of the example.

use std::path::PathBuf;

use bitnet_burn::quant::{InputGradient, QatScheme};
use bitnet_burn_examples::{Error, count, learning_rate};
use burn::tensor::Device;
use clap::{Parser, ValueEnum};

/// Trains a BitNet b1.58 character language model.
#[derive(Debug, Parser)]
#[command(name = "train_lm")]
pub struct Options {
    /// Full precision, or quantization-aware
    #[arg(long, default_value = "qat")]
    pub precision: Precision,
    /// Optimizer steps
    #[arg(long, value_name = "N", default_value_t = 1500, value_parser = count)]
    pub steps: usize,
    /// Peak learning rate
    #[arg(long, value_name = "X", default_value_t = 2e-3, value_parser = learning_rate)]
    pub learning_rate: f64,
    /// f32 throughout (16 bytes per parameter), or 8-bit optimizer states, and latent weights and their
    /// gradients in bf16 (6 bytes per latent weight)
    #[arg(long, default_value = "full")]
    pub memory: Memory,
    /// Steps over which the share of quantization grows to 1
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub progressive: usize,
    /// Compute the gradients of the inputs of layers from gradients of outputs in 8 bits
    #[arg(long)]
    pub int8_gradients: bool,
    /// Distill from a full-precision model of `train_lm --precision fp`, in
    /// train_lm_out/checkpoints/step-N/model.bpk
    #[arg(long, value_name = "FILE")]
    pub teacher: Option<PathBuf>,
    /// Seed of initialization and data order
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// flex, ndarray, cpu, wgpu, vulkan, metal, webgpu, cuda or rocm
    #[arg(long, value_name = "NAME", default_value = "flex", value_parser = bitnet_burn::device)]
    pub device: Device,
    /// Text to train on [default: an excerpt of Shakespeare]
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Folder of checkpoints and logs
    #[arg(long, value_name = "DIR", default_value = "train_lm_out")]
    pub out: PathBuf,
    /// Resume from the last checkpoint in the folder
    #[arg(long)]
    pub resume: bool,
    /// Replace an earlier run in the folder
    #[arg(long, conflicts_with = "resume")]
    pub overwrite: bool,
}

/// Full precision, or fake-quantized weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    Fp,
    Qat,
}

/// Memory of weights, gradients and optimizer states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Memory {
    Full,
    Small,
}

impl Options {
    /// Returns the quantization scheme of the model.
    pub fn scheme(&self) -> QatScheme {
        QatScheme::b1_58().with_input_gradient(match self.int8_gradients {
            true => InputGradient::Int8,
            false => InputGradient::Float,
        })
    }

    /// Rejects options that exclude each other.
    pub fn check(&self) -> Result<(), Error> {
        if self.progressive >= self.steps {
            let steps = self.steps;
            return Err(format!("--progressive must be less than the {steps} steps").into());
        }
        match self.teacher.is_some() && self.precision == Precision::Fp {
            true => Err("--teacher is for --precision qat".into()),
            false => Ok(()),
        }
    }
}
