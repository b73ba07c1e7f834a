//! Command line of the example.

use std::path::PathBuf;

use burn::tensor::Device;
use lexopt::prelude::*;

use crate::device::parse_device;

pub const HELP: &str = "\
Trains a BitNet b1.58 character language model.

Usage: train_lm [OPTIONS]

Options:
  --precision fp|qat   full precision, or quantization-aware [default: qat]
  --steps N            optimizer steps [default: 1500]
  --learning-rate X    peak learning rate [default: 2e-3]
  --memory full|small  f32 throughout, or moments of 8 bits, and latent weights and their gradients of
                       bf16 [default: full]
  --progressive N      steps over which the share of quantization grows to 1 [default: 0]
  --teacher FILE       distil a full-precision model of `train_lm --precision fp`, which is in
                       train_lm_out/checkpoints/step-N/model.bpk
  --seed N             seed of initialization and data order [default: 0]
  --device NAME        flex, ndarray, cpu, wgpu, cuda, vulkan or metal [default: flex]
  --text FILE          text to train on [default: an excerpt of Shakespeare]
  --out DIR            folder of checkpoints and logs [default: train_lm_out]
  --resume             go on from the last checkpoint in the folder
  --help               this text
";

/// Full precision, or fake-quantised weights and activations.
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

/// What weights, gradients and the optimizer's moments take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// 16 bytes a parameter.
    Full,
    /// 6 bytes a latent weight.
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

/// What the command line asks for.
pub enum Command {
    Train(Box<Options>),
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
    let mut precision = Precision::Qat;
    let mut steps = 1500;
    let mut learning_rate = 2e-3;
    let mut memory = Memory::Full;
    let mut progressive = 0;
    let mut teacher = None;
    let mut seed = 0;
    let mut device = "flex".to_string();
    let mut text = None;
    let mut out = PathBuf::from("train_lm_out");
    let mut resume = false;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("precision") => precision = parse_precision(&parser.value()?.string()?)?,
            Long("steps") => steps = parser.value()?.parse()?,
            Long("learning-rate") => learning_rate = parser.value()?.parse()?,
            Long("memory") => memory = parse_memory(&parser.value()?.string()?)?,
            Long("progressive") => progressive = parser.value()?.parse()?,
            Long("teacher") => teacher = Some(PathBuf::from(parser.value()?)),
            Long("seed") => seed = parser.value()?.parse()?,
            Long("device") => device = parser.value()?.string()?,
            Long("text") => text = Some(PathBuf::from(parser.value()?)),
            Long("out") => out = PathBuf::from(parser.value()?),
            Long("resume") => resume = true,
            Long("help") | Short('h') => return Ok(Command::Help),
            other => return Err(other.unexpected().into()),
        }
    }
    if steps == 0 {
        return Err(UsageError("--steps must be 1 or more, got 0".into()));
    }
    if teacher.is_some() && precision == Precision::Full {
        return Err(UsageError("--teacher is for --precision qat".into()));
    }
    if !(learning_rate > 0.0 && learning_rate <= 1.0) {
        return Err(UsageError(format!(
            "--learning-rate must be above 0 and at most 1, got {learning_rate}"
        )));
    }
    Ok(Command::Train(Box::new(Options {
        precision,
        steps,
        learning_rate,
        memory,
        progressive,
        teacher,
        seed,
        device: parse_device(&device).map_err(UsageError)?,
        text,
        out,
        resume,
    })))
}

fn parse_memory(name: &str) -> Result<Memory, UsageError> {
    match name {
        "full" => Ok(Memory::Full),
        "small" => Ok(Memory::Small),
        other => Err(UsageError(format!(
            "--memory is full or small, got {other}"
        ))),
    }
}

fn parse_precision(name: &str) -> Result<Precision, UsageError> {
    match name {
        "fp" => Ok(Precision::Full),
        "qat" => Ok(Precision::Qat),
        other => Err(UsageError(format!(
            "--precision takes fp or qat, got `{other}`"
        ))),
    }
}
