//! Progressive quantization from a TOML configuration, with the error monitor and an HTML report:
//! `cargo run --release --example progressive -- [CONFIG.toml] [--steps N] [--resume]`

use std::{path::PathBuf, process::ExitCode};

use bitnet_burn::{
    nn::BitLinear,
    qat::QuantControls,
    train::{
        LanguageModel, QuantizationErrorMetric, Trainer, checkpoint::Resume, config::TrainingConfig,
    },
};
use bitnet_burn_examples::{Error, STEPS_PER_EPOCH, Text, count, run_example};
use burn::tensor::Device;
use clap::Parser;
use serde_json::json;

/// Default configuration.
const CONFIG: &str = include_str!("progressive.toml");

/// Output folder of the report.
const OUT: &str = "progressive_out";

/// Trains a language model with progressive quantization, and reports the quantization errors.
///
/// The report is written to progressive_out/report.html.
#[derive(Parser)]
#[command(name = "progressive")]
struct Options {
    /// File in TOML or JSON [default: examples/progressive/progressive.toml]
    config: Option<PathBuf>,
    /// Optimizer steps, instead of those of the configuration
    #[arg(long, value_name = "N", value_parser = count)]
    steps: Option<usize>,
    /// Resume from the last checkpoint
    #[arg(long)]
    resume: bool,
}

impl Options {
    fn config(&self) -> Result<TrainingConfig, Error> {
        let mut config = match &self.config {
            Some(path) => TrainingConfig::load(path)?,
            None => TrainingConfig::from_toml(CONFIG)?,
        };
        if let Some(steps) = self.steps {
            config.training.steps = steps;
            config.training.epochs = steps.div_ceil(STEPS_PER_EPOCH);
        }
        if let (true, Some(policy)) = (self.resume, &mut config.checkpoints) {
            policy.resume = Resume::Latest;
        }
        Ok(config)
    }
}

fn main() -> ExitCode {
    run_example(run)
}

fn run(options: Options) -> Result<(), Error> {
    let config = options.config()?;
    let device = Device::default();
    let (steps, seed) = (config.training.steps, config.training.seed);
    device.seed(seed);
    let text = Text::load(None)?;
    let lm = text
        .lm_config()
        .with_scheme(config.qat.clone())
        .init::<BitLinear>(&device.autodiff());
    println!("{} quantizers", QuantControls::of(&lm).len());

    let trainer = Trainer::new(LanguageModel::new(lm), config)?;
    let history = trainer.history().clone();
    let trained = trainer
        .with_token_losses()
        .with_metrics_folder(OUT)
        .with_training(move |training| {
            training
                .metric_train_numeric(QuantizationErrorMetric::weight_sqnr(&history))
                .metric_train_numeric(QuantizationErrorMetric::flip_rate(&history))
        })
        .train(
            text.train_windows(seed, steps, STEPS_PER_EPOCH)?,
            text.valid_windows()?,
        )?;

    let report = trained.history.reports.last();
    let report = report.ok_or("nothing was measured")?;
    println!("{report}");
    println!("the report is {OUT}/report.html");
    let loss = text.valid_loss(&trained.model.lm)?;
    println!(
        "{}",
        json!({"steps": steps, "valid_loss": loss, "quantizers": report.layers.len()})
    );
    Ok(())
}
