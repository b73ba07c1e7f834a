//! Progressive quantisation by a configuration in TOML, watched by the error monitor, with a report
//! in HTML: `cargo run --release --example progressive -- [CONFIG.toml] [--steps N] [--resume]`

#[allow(dead_code)] // The prompt is for samples of text, of which there are none here.
#[path = "../train_lm/data.rs"]
mod data;
#[path = "../train_lm/model.rs"]
mod model;

use std::{error::Error, path::PathBuf, process::ExitCode, sync::Arc};

use bitnet_burn::{
    nn::BitLinear,
    qat::QuantControls,
    train::{
        QuantizationErrorMetric, SilentRenderer, TrainingFailure,
        checkpoint::Resume,
        config::{TrainingConfig, TrainingHandles},
    },
};
use burn::{
    data::dataloader::DataLoader,
    tensor::Device,
    train::{InferenceStep, Learner, SupervisedTraining, metric::LossMetric},
};
use lexopt::prelude::*;
use serde_json::json;

use data::Corpus;
use model::LanguageModel;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The configuration without an argument.
const CONFIG: &str = include_str!("progressive.toml");

/// Where the report goes.
const OUT: &str = "progressive_out";

const HELP: &str = "\
Trains a language model that is quantised little by little, and reports what quantisation does to it.

Usage: progressive [CONFIG] [OPTIONS]

Arguments:
  CONFIG      file in TOML or JSON [default: examples/progressive/progressive.toml]

Options:
  --steps N   optimizer steps in place of the configuration's
  --resume    go on from the last checkpoint
  --help      this text

The report is written to progressive_out/report.html.
";

fn main() -> ExitCode {
    match options() {
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("progressive: {error}");
            ExitCode::from(2)
        }
        Ok(Some(config)) => match run(&config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("progressive: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

/// The configuration that the command line asks for; `None` for help.
fn options() -> Result<Option<TrainingConfig>, Box<dyn Error>> {
    let (mut file, mut steps, mut resume) = (None, None, false);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("steps") => steps = Some(parser.value()?.parse()?),
            Long("resume") => resume = true,
            Long("help") | Short('h') => return Ok(None),
            Value(path) if file.is_none() => file = Some(PathBuf::from(path)),
            other => return Err(format!("{} (--help lists them)", other.unexpected()).into()),
        }
    }
    let mut config = match file {
        Some(path) => TrainingConfig::load(path)?,
        None => TrainingConfig::from_toml(CONFIG)?,
    };
    if let Some(steps) = steps {
        config.training.steps = steps;
        config.validate()?;
    }
    if let (true, Some(policy)) = (resume, &mut config.checkpoints) {
        policy.resume = Resume::Latest;
    }
    Ok(Some(config))
}

fn run(config: &TrainingConfig) -> Result<(), Box<dyn Error>> {
    let device = Device::default();
    device.seed(config.training.seed);
    let corpus = Corpus::load(None)?;
    let model = LanguageModel {
        lm: model::config(corpus.vocabulary.len())
            .with_scheme(config.qat.clone())
            .init::<BitLinear>(&device.clone().autodiff()),
    };
    println!("{} quantisers", QuantControls::of(&model).len());
    let (handles, steps) = (TrainingHandles::default(), config.training.steps);
    let train = Arc::new(corpus.train_loader(config.training.seed, steps));
    let valid = Arc::new(corpus.valid_loader(&device));
    let training = SupervisedTraining::new(OUT, train, valid)
        .metric_train_numeric(LossMetric::new())
        .metric_valid_numeric(LossMetric::new())
        .metric_train_numeric(QuantizationErrorMetric::weight_sqnr(&handles.history))
        .metric_train_numeric(QuantizationErrorMetric::flip_rate(&handles.history))
        .renderer(Box::new(SilentRenderer));
    let training = config.configure(training, device.clone(), &model, &handles)?;
    let scheduler = config.learning_rate.init(steps, &handles.learning_rate)?;
    let result = training.launch(Learner::new(
        model,
        config.optimizer.init(config.training.seed)?,
        scheduler,
    ));
    if let Some(error) = result.error {
        return Err(error.reason().into());
    }
    let report = handles.history.newest().ok_or("nothing was measured")?;
    println!("{report}");
    println!("the report is {OUT}/report.html");
    let loss = valid_loss(&result.model, &corpus, &device)?;
    println!(
        "{}",
        json!({"steps": steps, "valid_loss": loss, "quantisers": report.layers.len()})
    );
    Ok(())
}

/// Mean loss over the windows of validation.
fn valid_loss(
    model: &LanguageModel<BitLinear>,
    corpus: &Corpus,
    device: &Device,
) -> Result<f64, Box<dyn Error>> {
    let loader = corpus.valid_loader(device);
    let (mut sum, mut count) = (0.0, 0.0);
    for batch in loader.iter() {
        let batch = batch?;
        let windows = batch.inputs.dims()[0] as f64;
        sum += windows * f64::from(model.step(batch).loss.into_scalar::<f32>());
        count += windows;
    }
    Ok(sum / count)
}
