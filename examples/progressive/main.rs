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
use bitnet_burn_examples::{Error, STEPS_PER_EPOCH, Text, run_example};
use burn::tensor::Device;
use lexopt::{Parser, prelude::*};
use serde_json::json;

/// Default configuration.
const CONFIG: &str = include_str!("progressive.toml");

/// Output folder of the report.
const OUT: &str = "progressive_out";

const HELP: &str = "\
Trains a language model with progressive quantization, and reports the quantization errors.

Usage: progressive [CONFIG] [OPTIONS]

Arguments:
  CONFIG      file in TOML or JSON [default: examples/progressive/progressive.toml]

Options:
  --steps N   optimizer steps, instead of those of the configuration
  --resume    resume from the last checkpoint
  --help      this text

The report is written to progressive_out/report.html.
";

fn main() -> ExitCode {
    run_example("progressive", HELP, parse, run)
}

/// Parses the command line and loads the configuration; `None` for help.
fn parse(mut parser: Parser) -> Result<Option<TrainingConfig>, Error> {
    let (mut file, mut steps, mut resume) = (None, None, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("steps") => steps = Some(parser.value()?.parse()?),
            Long("resume") => resume = true,
            Long("help") | Short('h') => return Ok(None),
            Value(path) if file.is_none() => file = Some(PathBuf::from(path)),
            other => return Err(other.unexpected().into()),
        }
    }
    let mut config = match file {
        Some(path) => TrainingConfig::load(path)?,
        None => TrainingConfig::from_toml(CONFIG)?,
    };
    if let Some(steps) = steps {
        config.training.steps = steps;
        config.training.epochs = steps.div_ceil(STEPS_PER_EPOCH);
        config.validate()?;
    }
    if let (true, Some(policy)) = (resume, &mut config.checkpoints) {
        policy.resume = Resume::Latest;
    }
    Ok(Some(config))
}

fn run(config: TrainingConfig) -> Result<(), Error> {
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
