//! Command line of the example.

use std::path::PathBuf;

use bitnet_burn_examples::{Error, STEPS_PER_EPOCH, check_count, check_learning_rate, device};
use burn::tensor::Device;
use lexopt::{Parser, prelude::*};

pub const HELP: &str = "\
Fine-tunes a full-precision character language model to BitNet b1.58: abruptly, progressively, and
with static activations.

Usage: finetune_to_bitnet [OPTIONS]

Options:
  --checkpoint FILE        full-precision model of `train_lm --precision fp`, in
                           train_lm_out/checkpoints/step-N/model.bpk [default: train one]
  --fp-steps N             steps of full-precision training without a checkpoint [default: 500]
  --fp-learning-rate X     its peak learning rate [default: 2e-3]
  --steps N                steps of each fine-tuning [default: 300]
  --learning-rate X        its peak learning rate [default: 1e-3]
  --warm-up X              share of the steps over which lambda grows to 1 [default: 0.1]
  --calibration-batches N  batches over which static scales are observed [default: 16]
  --seed N                 seed of initialization and data order [default: 0]
  --device NAME            flex, ndarray, cpu, wgpu, cuda, rocm, vulkan, metal or webgpu [default: flex]
  --text FILE              text to train on [default: an excerpt of Shakespeare]
  --help                   this text
";

#[derive(Debug)]
pub struct Options {
    pub checkpoint: Option<PathBuf>,
    pub fp_steps: usize,
    pub fp_learning_rate: f64,
    pub steps: usize,
    pub learning_rate: f64,
    pub warm_up_share: f64,
    pub calibration_batches: usize,
    pub seed: u64,
    pub device: Device,
    pub text: Option<PathBuf>,
}

impl Options {
    /// Number of steps over which lambda grows.
    pub fn warm_up(&self) -> usize {
        (self.warm_up_share * self.steps as f64).round() as usize
    }
}

/// Parses the command line; `None` for help.
pub fn parse(mut parser: Parser) -> Result<Option<Options>, Error> {
    let mut options = Options {
        checkpoint: None,
        fp_steps: 500,
        fp_learning_rate: 2e-3,
        steps: 300,
        learning_rate: 1e-3,
        warm_up_share: 0.1,
        calibration_batches: 16,
        seed: 0,
        device: Device::default(),
        text: None,
    };
    let mut device_name = "flex".to_string();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("checkpoint") => options.checkpoint = Some(PathBuf::from(parser.value()?)),
            Long("fp-steps") => options.fp_steps = parser.value()?.parse()?,
            Long("fp-learning-rate") => options.fp_learning_rate = parser.value()?.parse()?,
            Long("steps") => options.steps = parser.value()?.parse()?,
            Long("learning-rate") => options.learning_rate = parser.value()?.parse()?,
            Long("warm-up") => options.warm_up_share = parser.value()?.parse()?,
            Long("calibration-batches") => options.calibration_batches = parser.value()?.parse()?,
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("device") => device_name = parser.value()?.string()?,
            Long("text") => options.text = Some(PathBuf::from(parser.value()?)),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    options.check()?;
    options.device = device(&device_name)?;
    Ok(Some(options))
}

impl Options {
    fn check(&self) -> Result<(), Error> {
        check_count("--fp-steps", self.fp_steps)?;
        check_count("--steps", self.steps)?;
        check_learning_rate("--fp-learning-rate", self.fp_learning_rate)?;
        check_learning_rate("--learning-rate", self.learning_rate)?;
        let batches = self.calibration_batches;
        if !(1..=STEPS_PER_EPOCH).contains(&batches) {
            let message =
                format!("--calibration-batches must be 1 to {STEPS_PER_EPOCH}, got {batches}");
            return Err(message.into());
        }
        let share = self.warm_up_share;
        match share >= 0.0 && self.warm_up() < self.steps {
            true => Ok(()),
            false => Err(format!("--warm-up must be 0 or more and below 1, got {share}").into()),
        }
    }
}
