//! Which layers of a BitNet suffer from quantisation, and what a few more bits for them buy:
//! `cargo run --release --example sensitivity -- --help`.

#[allow(dead_code)] // The prompt is for samples of text, of which there are none here.
#[path = "../train_lm/data.rs"]
mod data;
#[path = "../train_lm/model.rs"]
mod model;
#[path = "../finetune_to_bitnet/training.rs"]
mod training;
#[path = "../train_lm/validation.rs"]
mod validation;

use std::{error::Error, process::ExitCode};

use bitnet_burn::{
    monitor::{ErrorHistory, HtmlReport},
    nn::BitLinear,
    qat::{MixedPrecisionPlan, PlanBudget, QuantControls, Sensitivity},
    quant::QatScheme,
};
use burn::{
    data::{dataloader::DataLoader, dataset::DatasetError},
    module::Module,
    nn::Linear,
    tensor::Device,
    train::InferenceStep,
};
use lexopt::prelude::*;
use serde_json::json;

use data::Corpus;
use model::LanguageModel;
use training::Training;
use validation::valid_loss;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Batches that the loss of a measurement is the mean of.
const BATCHES: usize = 8;

const HELP: &str = "\
Trains a full-precision language model, measures what ternary weights in each of its layers cost,
gives the layers that need it more bits within a budget, and fine-tunes both ways.

Usage: sensitivity [OPTIONS]

Options:
  --steps N    steps of training; a third as many of fine-tuning [default: 300]
  --bits X     budget of the plan, bits per weight in the mean [default: 3]
  --html FILE  file for a drawing of the sensitivities [default: none]
  --help       this text
";

struct Options {
    steps: usize,
    bits: f64,
    html: Option<std::path::PathBuf>,
}

fn main() -> ExitCode {
    match options() {
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("sensitivity: {error} (--help lists the options)");
            ExitCode::from(2)
        }
        Ok(Some(options)) => match run(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("sensitivity: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

/// `None` for help.
fn options() -> Result<Option<Options>, Box<dyn Error>> {
    let mut options = Options {
        steps: 300,
        bits: 3.0,
        html: None,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("steps") => options.steps = parser.value()?.parse()?,
            Long("bits") => options.bits = parser.value()?.parse()?,
            Long("html") => options.html = Some(parser.value()?.into()),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    match options.steps {
        0 => Err("--steps must be 1 or more, got 0".into()),
        _ => Ok(Some(options)),
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let device = Device::default();
    device.seed(0);
    let corpus = Corpus::load(None)?;
    let training = |steps, seed| Training {
        corpus: &corpus,
        device: &device,
        seed,
        steps,
        learning_rate: 2e-3,
    };
    println!("full precision");
    let lm = model::config(corpus.vocabulary.len()).init::<Linear>(&device.clone().autodiff());
    let float = training(options.steps, 0).run(LanguageModel { lm }, |_| {})?;
    let bitnet = || LanguageModel {
        lm: float.lm.clone().into_bitnet(&QatScheme::b1_58()),
    };

    let model = bitnet();
    let (controls, frozen) = (QuantControls::of(&model), model.valid());
    let sensitivity =
        Sensitivity::default().measure(&controls, || some_loss(&frozen, &corpus, &device))?;
    println!("\n{sensitivity}");
    let plan = MixedPrecisionPlan::within(PlanBudget::BitsPerWeight(options.bits), &sensitivity)?;
    println!("plan of {} bits per weight:\n{plan}", options.bits);
    if let Some(path) = &options.html {
        HtmlReport::new("Sensitivity of the layers", &ErrorHistory::default())
            .with_sensitivity(sensitivity.bars())
            .save(path)?;
    }

    let fine_tune = |plan: &MixedPrecisionPlan| -> Result<(f64, f64), Box<dyn Error>> {
        let model = bitnet();
        QuantControls::of(&model).apply_plan(plan)?;
        let before = valid_loss(&model.valid(), &corpus, &device);
        let steps = options.steps.div_ceil(3);
        let model = training(steps, 1).run(model, |_| {})?.valid();
        Ok((before, valid_loss(&model, &corpus, &device)))
    };
    println!("fine-tuning, all layers ternary");
    let ternary = fine_tune(&MixedPrecisionPlan::default())?;
    println!("fine-tuning by the plan");
    let planned = fine_tune(&plan)?;
    let kib = |plan: &MixedPrecisionPlan| plan.num_bits(&sensitivity) / 8.0 / 1024.0;
    let weights: usize = sensitivity.layers.iter().map(|layer| layer.weights).sum();
    let float_loss = valid_loss(&float.valid(), &corpus, &device);
    let none = MixedPrecisionPlan::default();
    println!(
        "\n{:<14} {:>9} {:>10} {:>11}",
        "", "KiB", "converted", "fine-tuned"
    );
    println!(
        "{:<14} {:>9.1} {float_loss:>10.4}",
        "float",
        weights as f64 * 4.0 / 1024.0
    );
    for (name, plan, losses) in [("all ternary", &none, ternary), ("plan", &plan, planned)] {
        println!(
            "{name:<14} {:>9.1} {:>10.4} {:>11.4}",
            kib(plan),
            losses.0,
            losses.1
        );
    }
    let line = json!({
        "float": float_loss,
        "ternary": ternary.1,
        "plan": planned.1,
        "ternary_kib": kib(&none),
        "plan_kib": kib(&plan),
        "most_sensitive": sensitivity.layers[0].layer,
    });
    println!("{line}");
    Ok(())
}

/// Mean loss over some windows of the validation text.
fn some_loss(
    model: &LanguageModel<BitLinear>,
    corpus: &Corpus,
    device: &Device,
) -> Result<f64, DatasetError> {
    let loader = corpus.valid_loader(device);
    let mut sum = 0.0;
    for batch in loader.iter().take(BATCHES) {
        sum += f64::from(model.step(batch?).loss.into_scalar::<f32>());
    }
    Ok(sum / BATCHES as f64)
}
