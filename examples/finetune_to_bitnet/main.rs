//! Fine-tunes a full-precision language model to BitNet b1.58, abruptly and progressively, and
//! freezes the scales of its activations:
//! `cargo run --release --example finetune_to_bitnet -- --help`.

mod options;
mod report;
mod static_activations;

use std::process::ExitCode;

use bitnet_burn::{
    nn::{BitLinear, BitNetLm},
    quant::{
        QatScheme,
        schedule::{ProgressiveSchedule, ProgressiveShape},
    },
    train::LanguageModel,
};
use bitnet_burn_examples::{Error, Text, print_sample, run_example, train, training_config};
use burn::{module::Module, nn::Linear};

use options::Options;
use report::Report;

fn main() -> ExitCode {
    run_example(run)
}

fn run(options: Options) -> Result<(), Error> {
    let text = Text::load(options.text.as_deref())?;
    options.device.seed(options.seed);
    let full_precision = full_precision(&options, &text)?;

    println!("\nabrupt: fully quantized from the first step");
    let converted = bitnet(&full_precision);
    let converted_loss = text.valid_loss(&converted.valid())?;
    let abrupt = fine_tune(converted, 0, &options, &text)?;

    let warm_up = options.warm_up();
    println!("\nprogressive: lambda from 0 to 1 over {warm_up} steps");
    let progressive = fine_tune(bitnet(&full_precision), warm_up, &options, &text)?;

    let (abrupt_loss, progressive_loss) =
        (text.valid_loss(&abrupt)?, text.valid_loss(&progressive)?);
    let better = match progressive_loss <= abrupt_loss {
        true => &progressive,
        false => &abrupt,
    };
    // The deployed form: 2 bits per weight, with the outputs of training.
    let packed = better.pack();
    let report = Report {
        full_precision: text.valid_loss(&full_precision)?,
        converted: converted_loss,
        abrupt: abrupt_loss,
        progressive: progressive_loss,
        static_losses: static_activations::losses(better, &options, &text)?,
        packed: text.valid_loss(&packed)?,
    };
    println!();
    print_sample(&packed, &text, options.seed)?;
    report.print_table();
    report.print_json();
    Ok(())
}

/// Loads the model of the checkpoint, or trains one; returns it for inference.
fn full_precision(options: &Options, text: &Text) -> Result<BitNetLm<Linear>, Error> {
    let device = options.device.clone().autodiff();
    let lm = text.lm_config().init(&device);
    if let Some(path) = &options.checkpoint {
        let loaded = LanguageModel::new(lm).try_load_file(path);
        let loaded = loaded.map_err(|error| format!("cannot use {}: {error}", path.display()))?;
        return Ok(loaded.lm.valid());
    }
    println!("\nfull precision");
    let config = training_config(options.fp_steps, options.fp_learning_rate, 0, options.seed);
    train(text, lm, config)
}

/// Converts to a model in training, with the same weights and quantized projections.
fn bitnet(full_precision: &BitNetLm<Linear>) -> BitNetLm<BitLinear> {
    let lm = full_precision.clone().train();
    lm.into_bitnet(&QatScheme::b1_58())
}

/// Trains while lambda grows to 1 over `warm_up` steps; returns the model for inference.
fn fine_tune(
    lm: BitNetLm<BitLinear>,
    warm_up: usize,
    options: &Options,
    text: &Text,
) -> Result<BitNetLm<BitLinear>, Error> {
    // Other windows than those of the full-precision training, the same for both methods.
    let seed = options.seed.wrapping_add(1);
    let mut config = training_config(options.steps, options.learning_rate, 0, seed);
    let lambda = ProgressiveSchedule::new(ProgressiveShape::Linear, 0, warm_up)?;
    config.schedule.progressive = Some(lambda);
    train(text, lm, config)
}
