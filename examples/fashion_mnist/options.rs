//! Command line of the example.

use std::path::PathBuf;

use bitnet_burn::quant::{BitWidth, WeightGranularity, WeightQuantizer};
use bitnet_burn_examples::{learning_rate, parsed};
use burn::tensor::Device;
use clap::{Parser, ValueEnum};

/// Trains a convolutional network on Fashion-MNIST twice from the same initial weights: in full precision, and
/// quantization-aware with ternary or 2-bit weights.
#[derive(Debug, Parser)]
#[command(name = "fashion_mnist")]
pub struct Options {
    /// Folder of the four idx.gz files of Fashion-MNIST [default: an excerpt of 4000 + 1000 images]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Quantization of the weights
    #[arg(long, value_name = "NAME", default_value = "ternary")]
    pub weights: Weights,
    /// Which weights share a scale [default: channel for ternary, tensor for the others]
    #[arg(long)]
    granularity: Option<Granularity>,
    /// Passes over the training images
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = epochs)]
    pub epochs: usize,
    /// Peak learning rate
    #[arg(long, value_name = "X", default_value_t = 6e-3, value_parser = learning_rate)]
    pub learning_rate: f64,
    /// Seed of initialization and data order
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// flex, ndarray, cpu, wgpu, vulkan, metal, webgpu, cuda or rocm
    #[arg(long, value_name = "NAME", default_value = "flex", value_parser = bitnet_burn::device)]
    pub device: Device,
}

/// Quantization of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Weights {
    /// -1, 0 and 1 with a scale
    Ternary,
    /// 2 bits scaled by the largest magnitude
    Absmax2,
    /// 2 bits with trained step sizes
    Lsq2,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Granularity {
    Tensor,
    Channel,
}

impl Options {
    /// Returns the quantizer of the weights.
    pub fn quantizer(&self) -> WeightQuantizer {
        let granularity = match (self.granularity, self.weights) {
            (Some(Granularity::Channel), _) | (None, Weights::Ternary) => {
                WeightGranularity::PerChannel
            }
            _ => WeightGranularity::PerTensor,
        };
        match self.weights {
            Weights::Ternary => WeightQuantizer::ternary(granularity),
            Weights::Absmax2 => WeightQuantizer::symmetric(2).with_granularity(granularity),
            Weights::Lsq2 => {
                WeightQuantizer::learned_step(BitWidth::Bits(2)).with_granularity(granularity)
            }
        }
    }
}

/// Maximum number of epochs, so that the number of steps fits a `usize` on 32-bit machines.
const MAX_EPOCHS: usize = 10_000;

fn epochs(text: &str) -> Result<usize, String> {
    let bounds = format!("must be 1 to {MAX_EPOCHS}");
    parsed(text, &bounds, |epochs| (1..=MAX_EPOCHS).contains(epochs))
}
