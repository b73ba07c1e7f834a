//! Command line of the example.

use std::path::PathBuf;

use bitnet_burn_examples::{STEPS_PER_EPOCH, count, learning_rate, parsed};
use burn::tensor::Device;
use clap::Parser;

/// Fine-tunes a full-precision character language model to BitNet b1.58: abruptly, progressively, and with
/// static activations.
#[derive(Debug, Parser)]
#[command(name = "finetune_to_bitnet")]
pub struct Options {
    /// Full-precision model of `train_lm --precision fp`, in train_lm_out/checkpoints/step-N/model.bpk
    /// [default: train one]
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// Steps of full-precision training without a checkpoint
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = count)]
    pub fp_steps: usize,
    /// Its peak learning rate
    #[arg(long, value_name = "X", default_value_t = 2e-3, value_parser = learning_rate)]
    pub fp_learning_rate: f64,
    /// Steps of each fine-tuning
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = count)]
    pub steps: usize,
    /// Its peak learning rate
    #[arg(long, value_name = "X", default_value_t = 1e-3, value_parser = learning_rate)]
    pub learning_rate: f64,
    /// Share of the steps over which lambda grows to 1
    #[arg(long = "warm-up", value_name = "X", default_value_t = 0.1, value_parser = share)]
    pub warm_up_share: f64,
    /// Batches over which static scales are observed
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = batches)]
    pub calibration_batches: usize,
    /// Seed of initialization and data order
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// flex, ndarray, cpu, wgpu, vulkan, metal, webgpu, cuda or rocm
    #[arg(long, value_name = "NAME", default_value = "flex", value_parser = bitnet_burn::device)]
    pub device: Device,
    /// Text to train on [default: an excerpt of Shakespeare]
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
}

impl Options {
    /// Number of steps over which lambda grows.
    pub fn warm_up(&self) -> usize {
        (self.warm_up_share * self.steps as f64).round() as usize
    }
}

fn share(text: &str) -> Result<f64, String> {
    let allowed = |share: &f64| (0.0..1.0).contains(share);
    parsed(text, "must be 0 or more and below 1", allowed)
}

fn batches(text: &str) -> Result<usize, String> {
    let bounds = format!("must be 1 to {STEPS_PER_EPOCH}");
    parsed(text, &bounds, |batches| {
        (1..=STEPS_PER_EPOCH).contains(batches)
    })
}
