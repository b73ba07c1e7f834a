//! Command line of the example.

use std::path::PathBuf;

use bitnet_burn::quant::{
    BitWidth, LearnedStepConfig, SymmetricConfig, TernaryConfig, WeightGranularity, WeightQuantizer,
};
use bitnet_burn_examples::{Error, check_learning_rate, device};
use burn::tensor::Device;
use lexopt::{Parser, prelude::*};

pub const HELP: &str = "\
Trains a convolutional network on Fashion-MNIST twice from the same initial weights: in full
precision, and quantization-aware with ternary or 2-bit weights.

Usage: fashion_mnist [OPTIONS]

Options:
  --data DIR                    folder of the four idx.gz files of Fashion-MNIST
                                [default: an excerpt of 4000 + 1000 images]
  --weights NAME                ternary; absmax2, 2 bits scaled by the largest magnitude; or
                                lsq2, 2 bits with trained step sizes [default: ternary]
  --granularity tensor|channel  which weights share a scale
                                [default: channel for ternary, tensor for the others]
  --epochs N                    passes over the training images [default: 10]
  --learning-rate X             peak learning rate [default: 6e-3]
  --seed N                      seed of initialization and data order [default: 0]
  --device NAME                 flex, ndarray, cpu, wgpu, cuda, rocm, vulkan, metal or webgpu
                                [default: flex]
  --help                        this text
";

/// Quantization of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    Ternary,
    Absmax2,
    Lsq2,
}

impl Weights {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ternary => "ternary",
            Self::Absmax2 => "absmax2",
            Self::Lsq2 => "lsq2",
        }
    }
}

#[derive(Debug)]
pub struct Options {
    pub data: Option<PathBuf>,
    pub weights: Weights,
    /// Granularity of the scales; `None` for the default of the quantizer.
    pub granularity: Option<WeightGranularity>,
    pub epochs: usize,
    pub learning_rate: f64,
    pub seed: u64,
    pub device: Device,
}

impl Options {
    /// Returns the quantizer of the weights.
    pub fn quantizer(&self) -> WeightQuantizer {
        let default = match self.weights {
            Weights::Ternary => WeightGranularity::PerChannel,
            Weights::Absmax2 | Weights::Lsq2 => WeightGranularity::PerTensor,
        };
        let granularity = self.granularity.unwrap_or(default);
        match self.weights {
            Weights::Ternary => TernaryConfig::new(granularity).into(),
            Weights::Absmax2 => SymmetricConfig::new(2).with_granularity(granularity).into(),
            Weights::Lsq2 => LearnedStepConfig::new(BitWidth::Bits(2))
                .with_granularity(granularity)
                .into(),
        }
    }
}

/// Parses the command line; `None` for help.
pub fn parse(mut parser: Parser) -> Result<Option<Options>, Error> {
    let mut options = Options {
        data: None,
        weights: Weights::Ternary,
        granularity: None,
        epochs: 10,
        learning_rate: 6e-3,
        seed: 0,
        device: Device::default(),
    };
    let mut device_name = "flex".to_string();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("data") => options.data = Some(PathBuf::from(parser.value()?)),
            Long("weights") => options.weights = weights(&parser.value()?.string()?)?,
            Long("granularity") => {
                options.granularity = Some(granularity(&parser.value()?.string()?)?);
            }
            Long("epochs") => options.epochs = parser.value()?.parse()?,
            Long("learning-rate") => options.learning_rate = parser.value()?.parse()?,
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("device") => device_name = parser.value()?.string()?,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    let epochs = options.epochs;
    if !(1..=MAX_EPOCHS).contains(&epochs) {
        return Err(format!("--epochs must be 1 to {MAX_EPOCHS}, got {epochs}").into());
    }
    check_learning_rate("--learning-rate", options.learning_rate)?;
    options.device = device(&device_name)?;
    Ok(Some(options))
}

/// Maximum number of epochs, so that the number of steps fits a `usize` on 32-bit machines.
const MAX_EPOCHS: usize = 10_000;

fn weights(name: &str) -> Result<Weights, Error> {
    let known = [Weights::Ternary, Weights::Absmax2, Weights::Lsq2];
    let found = known.into_iter().find(|weights| weights.name() == name);
    found.ok_or_else(|| format!("--weights takes ternary, absmax2 or lsq2, got `{name}`").into())
}

fn granularity(name: &str) -> Result<WeightGranularity, Error> {
    match name {
        "tensor" => Ok(WeightGranularity::PerTensor),
        "channel" => Ok(WeightGranularity::PerChannel),
        other => Err(format!("--granularity takes tensor or channel, got `{other}`").into()),
    }
}
