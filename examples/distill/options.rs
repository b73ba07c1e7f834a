//! Command line of the example.

use std::path::PathBuf;

use bitnet_burn_examples::{Error, check_count, check_learning_rate};
use lexopt::{Parser, prelude::*};

pub const HELP: &str = "\
Trains a full-precision teacher, then a smaller BitNet b1.58 student twice: alone, and distilled.

Usage: distill [OPTIONS]

Options:
  --steps N            optimizer steps of each of the three [default: 500]
  --learning-rate X    peak learning rate [default: 2e-3]
  --temperature X      temperature of the distillation [default: 1]
  --alpha X            weight of the teacher; the text has 1 - alpha [default: 0.9]
  --top-k N            logits kept per token, 0 for all [default: 16]
  --teacher FILE       a teacher of an earlier run, instead of training one
  --text FILE          text to train on [default: an excerpt of Shakespeare]
  --seed N             seed of initialization and data order [default: 0]
  --out DIR            folder of models, logits and logs [default: distill_out]
  --help               this text

The device is Burn's default, or the one set by BURN_DEVICE.
";

#[derive(Debug)]
pub struct Options {
    pub steps: usize,
    pub learning_rate: f64,
    pub temperature: f64,
    pub alpha: f64,
    pub top_k: usize,
    pub teacher: Option<PathBuf>,
    pub text: Option<PathBuf>,
    pub seed: u64,
    pub out: PathBuf,
}

/// Parses the command line; `None` for help.
pub fn parse(mut parser: Parser) -> Result<Option<Options>, Error> {
    let mut options = Options {
        steps: 500,
        learning_rate: 2e-3,
        temperature: 1.0,
        alpha: 0.9,
        top_k: 16,
        teacher: None,
        text: None,
        seed: 0,
        out: PathBuf::from("distill_out"),
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("steps") => options.steps = parser.value()?.parse()?,
            Long("learning-rate") => options.learning_rate = parser.value()?.parse()?,
            Long("temperature") => options.temperature = parser.value()?.parse()?,
            Long("alpha") => options.alpha = parser.value()?.parse()?,
            Long("top-k") => options.top_k = parser.value()?.parse()?,
            Long("teacher") => options.teacher = Some(PathBuf::from(parser.value()?)),
            Long("text") => options.text = Some(PathBuf::from(parser.value()?)),
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("out") => options.out = PathBuf::from(parser.value()?),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    options.check()?;
    Ok(Some(options))
}

impl Options {
    fn check(&self) -> Result<(), Error> {
        check_count("--steps", self.steps)?;
        check_learning_rate("--learning-rate", self.learning_rate)?;
        let temperature = self.temperature;
        if !(temperature > 0.0 && temperature.is_finite()) {
            return Err(format!("--temperature must be above 0, got {temperature}").into());
        }
        match (0.0..=1.0).contains(&self.alpha) {
            true => Ok(()),
            false => Err(format!("--alpha must be 0 to 1, got {}", self.alpha).into()),
        }
    }
}
