//! Command line of the example.

use std::path::PathBuf;

use bitnet_burn::quant::{
    BitWidth, LearnedStepConfig, SymmetricConfig, TernaryConfig, WeightGranularity, WeightQuantizer,
};
use burn::tensor::Device;
use lexopt::prelude::*;

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

/// How weights are quantised.
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
    /// `None` for the default of the weights.
    pub granularity: Option<WeightGranularity>,
    pub epochs: usize,
    pub learning_rate: f64,
    pub seed: u64,
    pub device: Device,
}

impl Options {
    /// The quantiser of the weights.
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

/// What the command line asks for.
pub enum Command {
    Train(Options),
    Help,
}

/// One sentence that says what is wrong with the command line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        Self(format!("{error} (--help lists the options)"))
    }
}

pub fn parse() -> Result<Command, UsageError> {
    let mut data = None;
    let mut weights = Weights::Ternary;
    let mut granularity = None;
    let mut epochs = 10;
    let mut learning_rate = 6e-3;
    let mut seed = 0;
    let mut device = "flex".to_string();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("data") => data = Some(PathBuf::from(parser.value()?)),
            Long("weights") => weights = parse_weights(&parser.value()?.string()?)?,
            Long("granularity") => {
                granularity = Some(parse_granularity(&parser.value()?.string()?)?);
            }
            Long("epochs") => epochs = parser.value()?.parse()?,
            Long("learning-rate") => learning_rate = parser.value()?.parse()?,
            Long("seed") => seed = parser.value()?.parse()?,
            Long("device") => device = parser.value()?.string()?,
            Long("help") | Short('h') => return Ok(Command::Help),
            other => return Err(other.unexpected().into()),
        }
    }
    if !(1..=MAX_EPOCHS).contains(&epochs) {
        return Err(UsageError(format!(
            "--epochs must be 1 to {MAX_EPOCHS}, got {epochs}"
        )));
    }
    if !(learning_rate > 0.0 && learning_rate <= 1.0) {
        return Err(UsageError(format!(
            "--learning-rate must be above 0 and at most 1, got {learning_rate}"
        )));
    }
    Ok(Command::Train(Options {
        data,
        weights,
        granularity,
        epochs,
        learning_rate,
        seed,
        device: parse_device(&device)?,
    }))
}

/// Keeps the number of steps well inside a `usize` on 32-bit machines too.
const MAX_EPOCHS: usize = 10_000;

fn parse_weights(name: &str) -> Result<Weights, UsageError> {
    let known = [Weights::Ternary, Weights::Absmax2, Weights::Lsq2];
    let found = known.into_iter().find(|weights| weights.name() == name);
    found.ok_or_else(|| {
        UsageError(format!(
            "--weights takes ternary, absmax2 or lsq2, got `{name}`"
        ))
    })
}

fn parse_granularity(name: &str) -> Result<WeightGranularity, UsageError> {
    match name {
        "tensor" => Ok(WeightGranularity::PerTensor),
        "channel" => Ok(WeightGranularity::PerChannel),
        other => Err(UsageError(format!(
            "--granularity takes tensor or channel, got `{other}`"
        ))),
    }
}

/// The devices that can be compiled in, each by the feature of its name.
const DEVICES: [&str; 9] = [
    "flex", "ndarray", "cpu", "wgpu", "cuda", "rocm", "vulkan", "metal", "webgpu",
];

fn parse_device(name: &str) -> Result<Device, UsageError> {
    #[cfg(any(
        feature = "wgpu",
        feature = "vulkan",
        feature = "metal",
        feature = "webgpu"
    ))]
    use burn::tensor::DeviceKind::DefaultDevice;
    match name {
        #[cfg(feature = "flex")]
        "flex" => Ok(Device::flex()),
        #[cfg(feature = "ndarray")]
        #[allow(deprecated)]
        "ndarray" => Ok(Device::ndarray()),
        #[cfg(feature = "cpu")]
        "cpu" => Ok(Device::cpu()),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(DefaultDevice)),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(0)),
        #[cfg(feature = "rocm")]
        "rocm" => Ok(Device::rocm(0)),
        #[cfg(feature = "vulkan")]
        "vulkan" => Ok(Device::vulkan(DefaultDevice)),
        #[cfg(feature = "metal")]
        "metal" => Ok(Device::metal(DefaultDevice)),
        #[cfg(feature = "webgpu")]
        "webgpu" => Ok(Device::webgpu(DefaultDevice)),
        name if DEVICES.contains(&name) => Err(UsageError(format!(
            "device {name} is not compiled in: add `--features {name}` to the cargo command"
        ))),
        other => Err(UsageError(format!(
            "unknown device `{other}`: there are {}",
            DEVICES.join(", ")
        ))),
    }
}
