//! Fine-tunes a full-precision language model to BitNet b1.58, abruptly and progressively, and
//! freezes the scales of its activations:
//! `cargo run --release --example finetune_to_bitnet -- --help`.

#[path = "../train_lm/data.rs"]
mod data;
#[path = "../train_lm/device.rs"]
mod device;
#[path = "../train_lm/model.rs"]
mod model;
#[path = "../train_lm/sample.rs"]
mod sample;
#[path = "../train_lm/validation.rs"]
mod validation;

mod options;
mod report;
mod static_activations;
mod training;

use std::{error::Error, process::ExitCode};

use bitnet_burn::{
    nn::BitLinear,
    qat::QuantControls,
    quant::{
        QatScheme,
        schedule::{ProgressiveSchedule, ProgressiveShape},
    },
};
use burn::{module::Module, nn::Linear};

use data::Corpus;
use model::LanguageModel;
use options::{Command, HELP, Options};
use report::Report;
use training::Training;
use validation::valid_loss;

/// Without the page faults of the system allocator, which cost a fifth of the time of a step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let result = options::parse()
        .map_err(Into::into)
        .and_then(|command| match command {
            Command::Help => {
                print!("{HELP}");
                Ok(())
            }
            Command::FineTune(options) => run(&options),
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("finetune_to_bitnet: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let corpus = Corpus::load(options.text.as_deref())?;
    println!(
        "{} characters to train on, {} to validate, {} different ones",
        corpus.train_len(),
        corpus.valid_len(),
        corpus.vocabulary.len()
    );
    options.device.seed(options.seed);
    let full_precision = full_precision(options, &corpus)?;
    let loss = |model: &LanguageModel<BitLinear>| valid_loss(model, &corpus, &options.device);

    println!("\nabrupt: quantized in full from the first step");
    let converted = bitnet(&full_precision);
    let converted_loss = loss(&converted.valid());
    let abrupt = fine_tune(converted, 0, options, &corpus)?;

    let warm_up = options.warm_up();
    println!("\nprogressive: lambda from 0 to 1 over {warm_up} steps");
    let progressive = fine_tune(bitnet(&full_precision), warm_up, options, &corpus)?;

    let (abrupt_loss, progressive_loss) = (loss(&abrupt), loss(&progressive));
    let better = match progressive_loss <= abrupt_loss {
        true => &progressive,
        false => &abrupt,
    };
    let static_losses = static_activations::losses(better, options, &corpus)?;
    // What is shipped: 2 bits per weight, and the outputs of training.
    let packed = LanguageModel {
        lm: better.lm.pack(),
    };
    let report = Report {
        full_precision: valid_loss(&full_precision.valid(), &corpus, &options.device),
        converted: converted_loss,
        abrupt: abrupt_loss,
        progressive: progressive_loss,
        static_losses,
        packed: valid_loss(&packed, &corpus, &options.device),
    };
    println!();
    sample::print(&packed.lm, &corpus, options);
    report.print_table();
    report.print_json();
    Ok(())
}

/// The model of the checkpoint, or one that is trained here.
fn full_precision(
    options: &Options,
    corpus: &Corpus,
) -> Result<LanguageModel<Linear>, Box<dyn Error>> {
    let device = options.device.clone().autodiff();
    let model = LanguageModel {
        lm: model::config(corpus.vocabulary.len()).init(&device),
    };
    if let Some(path) = &options.checkpoint {
        let loaded = model.try_load_file(path);
        return loaded.map_err(|error| format!("cannot use {}: {error}", path.display()).into());
    }
    println!("\nfull precision");
    let training = Training {
        corpus,
        device: &options.device,
        seed: options.seed,
        steps: options.fp_steps,
        learning_rate: options.fp_learning_rate,
    };
    Ok(training.run(model, |_| {})?)
}

/// The model with the same weights and quantised projections.
fn bitnet(full_precision: &LanguageModel<Linear>) -> LanguageModel<BitLinear> {
    LanguageModel {
        lm: full_precision.lm.clone().into_bitnet(&QatScheme::b1_58()),
    }
}

/// Trains while the share of the quantised values grows to 1 over `warm_up` steps; returns the
/// model for inference.
fn fine_tune(
    model: LanguageModel<BitLinear>,
    warm_up: usize,
    options: &Options,
    corpus: &Corpus,
) -> Result<LanguageModel<BitLinear>, Box<dyn Error>> {
    let training = Training {
        corpus,
        device: &options.device,
        // Other windows than those of the full-precision training, the same for both ways.
        seed: options.seed.wrapping_add(1),
        steps: options.steps,
        learning_rate: options.learning_rate,
    };
    let controls = QuantControls::of(&model);
    let lambda = ProgressiveSchedule::new(ProgressiveShape::Linear, 0, warm_up)?;
    let model = training.run(model, |step| controls.set_lambda(lambda.value(step)))?;
    Ok(model.valid())
}
