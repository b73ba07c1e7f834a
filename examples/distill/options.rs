//! Command line of the example.

use std::path::PathBuf;

use bitnet_burn_examples::{count, learning_rate, parsed};
use clap::Parser;

/// Trains a full-precision teacher, then a smaller BitNet b1.58 student twice: alone, and distilled.
///
/// The device is Burn's default, or the one set by BURN_DEVICE.
#[derive(Debug, Parser)]
#[command(name = "distill")]
pub struct Options {
    /// Optimizer steps of each of the three
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = count)]
    pub steps: usize,
    /// Peak learning rate
    #[arg(long, value_name = "X", default_value_t = 2e-3, value_parser = learning_rate)]
    pub learning_rate: f64,
    /// Temperature of the distillation
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = temperature)]
    pub temperature: f64,
    /// Weight of the teacher; the text has 1 - alpha
    #[arg(long, value_name = "X", default_value_t = 0.9, value_parser = alpha)]
    pub alpha: f64,
    /// Logits kept per token, 0 for all
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub top_k: usize,
    /// A teacher of an earlier run, instead of training one
    #[arg(long, value_name = "FILE")]
    pub teacher: Option<PathBuf>,
    /// Text to train on [default: an excerpt of Shakespeare]
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Seed of initialization and data order
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Folder of models, logits and logs
    #[arg(long, value_name = "DIR", default_value = "distill_out")]
    pub out: PathBuf,
}

fn temperature(text: &str) -> Result<f64, String> {
    let allowed = |value: &f64| *value > 0.0 && value.is_finite();
    parsed(text, "must be above 0", allowed)
}

fn alpha(text: &str) -> Result<f64, String> {
    parsed(text, "must be 0 to 1", |value| (0.0..=1.0).contains(value))
}
