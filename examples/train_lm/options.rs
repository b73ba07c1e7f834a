//! Command line of the example.

use std::path::PathBuf;

use bitnet_burn_examples::{Error, check_count, check_learning_rate, device};
use burn::tensor::Device;
use lexopt::{Parser, prelude::*};

pub const HELP: &str = "\
Trains a BitNet b1.58 character language model.

Usage: train_lm [OPTIONS]

Options:
  --precision fp|qat   full precision, or quantization-aware [default: qat]
  --steps N            optimizer steps [default: 1500]
  --learning-rate X    peak learning rate [default: 2e-3]
  --memory full|small  f32 throughout, or 8-bit optimizer states, and latent weights and their
                       gradients in bf16 [default: full]
  --progressive N      steps over which the share of quantization grows to 1 [default: 0]
  --teacher FILE       distill from a full-precision model of `train_lm --precision fp`, in
                       train_lm_out/checkpoints/step-N/model.bpk
  --seed N             seed of initialization and data order [default: 0]
  --device NAME        flex, ndarray, cpu, wgpu, cuda, rocm, vulkan, metal or webgpu [default: flex]
  --text FILE          text to train on [default: an excerpt of Shakespeare]
  --out DIR            folder of checkpoints and logs [default: train_lm_out]
  --resume             resume from the last checkpoint in the folder
  --help               this text
";

/// Full precision, or fake-quantized weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    Full,
    Qat,
}

impl Precision {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Full => "fp",
            Self::Qat => "qat",
        }
    }
}

/// Memory of weights, gradients and optimizer states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// 16 bytes per parameter.
    Full,
    /// 6 bytes per latent weight.
    Small,
}

impl Memory {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Small => "small",
        }
    }
}

#[derive(Debug)]
pub struct Options {
    pub precision: Precision,
    pub steps: usize,
    pub learning_rate: f64,
    pub memory: Memory,
    pub progressive: usize,
    pub teacher: Option<PathBuf>,
    pub seed: u64,
    pub device: Device,
    pub text: Option<PathBuf>,
    pub out: PathBuf,
    pub resume: bool,
}

/// Parses the command line; `None` for help.
pub fn parse(mut parser: Parser) -> Result<Option<Options>, Error> {
    let mut options = Options {
        precision: Precision::Qat,
        steps: 1500,
        learning_rate: 2e-3,
        memory: Memory::Full,
        progressive: 0,
        teacher: None,
        seed: 0,
        device: Device::default(),
        text: None,
        out: PathBuf::from("train_lm_out"),
        resume: false,
    };
    let mut device_name = "flex".to_string();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("precision") => options.precision = precision(&parser.value()?.string()?)?,
            Long("steps") => options.steps = parser.value()?.parse()?,
            Long("learning-rate") => options.learning_rate = parser.value()?.parse()?,
            Long("memory") => options.memory = memory(&parser.value()?.string()?)?,
            Long("progressive") => options.progressive = parser.value()?.parse()?,
            Long("teacher") => options.teacher = Some(PathBuf::from(parser.value()?)),
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("device") => device_name = parser.value()?.string()?,
            Long("text") => options.text = Some(PathBuf::from(parser.value()?)),
            Long("out") => options.out = PathBuf::from(parser.value()?),
            Long("resume") => options.resume = true,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    check_count("--steps", options.steps)?;
    if options.progressive >= options.steps {
        let steps = options.steps;
        return Err(format!("--progressive must be less than the {steps} steps").into());
    }
    if options.teacher.is_some() && options.precision == Precision::Full {
        return Err("--teacher is for --precision qat".into());
    }
    check_learning_rate("--learning-rate", options.learning_rate)?;
    options.device = device(&device_name)?;
    Ok(Some(options))
}

fn memory(name: &str) -> Result<Memory, Error> {
    match name {
        "full" => Ok(Memory::Full),
        "small" => Ok(Memory::Small),
        other => Err(format!("--memory is full or small, got {other}").into()),
    }
}

fn precision(name: &str) -> Result<Precision, Error> {
    match name {
        "fp" => Ok(Precision::Full),
        "qat" => Ok(Precision::Qat),
        other => Err(format!("--precision takes fp or qat, got `{other}`").into()),
    }
}
