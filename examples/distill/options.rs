//! Command line of the example.

use std::path::PathBuf;

use lexopt::prelude::*;

pub const HELP: &str = "\
Trains a full-precision teacher, then a smaller BitNet b1.58 student twice: alone, and distilled.

Usage: distill [OPTIONS]

Options:
  --steps N            optimizer steps of each of the three [default: 500]
  --learning-rate X    peak learning rate [default: 2e-3]
  --temperature X      temperature of the distillation [default: 1]
  --alpha X            weight of the teacher; the text has 1 - alpha [default: 0.9]
  --top-k N            logits kept of each token, 0 for all [default: 16]
  --teacher FILE       a teacher of an earlier run, instead of training one
  --text FILE          text to train on [default: an excerpt of Shakespeare]
  --seed N             seed of initialization and data order [default: 0]
  --out DIR            folder of models, logits and logs [default: distill_out]
  --help               this text

The device is Burn's default one, or what BURN_DEVICE names.
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

/// What the command line asks for.
pub enum Command {
    Distill(Box<Options>),
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
    let mut parser = lexopt::Parser::from_env();
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
            Long("help") | Short('h') => return Ok(Command::Help),
            other => return Err(other.unexpected().into()),
        }
    }
    options.check()?;
    Ok(Command::Distill(Box::new(options)))
}

impl Options {
    fn check(&self) -> Result<(), UsageError> {
        let wrong = |message: String| Err(UsageError(message));
        if self.steps == 0 {
            return wrong("--steps must be 1 or more, got 0".into());
        }
        let rate = self.learning_rate;
        if !(rate > 0.0 && rate <= 1.0) {
            return wrong(format!(
                "--learning-rate must be above 0 and at most 1, got {rate}"
            ));
        }
        let temperature = self.temperature;
        if !(temperature > 0.0 && temperature.is_finite()) {
            return wrong(format!("--temperature must be above 0, got {temperature}"));
        }
        if !(0.0..=1.0).contains(&self.alpha) {
            return wrong(format!("--alpha must be 0 to 1, got {}", self.alpha));
        }
        Ok(())
    }
}
