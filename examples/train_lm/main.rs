//! Trains a BitNet b1.58 character language model on text, or its full-precision twin:
//! `cargo run --release --example train_lm -- --help`.

mod distillation;
mod options;
mod report;
mod training;

use std::process::ExitCode;

use bitnet_burn::{
    nn::{BitLinear, BitNetLm, TrainableProjection},
    qat::cast_latent_weights,
    train::{LanguageModel, MemoryPlanConfig, OptimizerStates},
};
use bitnet_burn_examples::{BATCH, CONTEXT, Error, Text, print_sample, run_example};
use burn::{module::Module, nn::Linear, tensor::FloatDType};

use options::{Memory, Options, Precision};
use training::{Run, train};

fn main() -> ExitCode {
    run_example(run_in_pool)
}

/// Runs in the thread pool of Flex, whose loops start faster from inside it. A pool of one thread is not
/// used, since metrics are computed by other threads.
fn run_in_pool(options: Options) -> Result<(), Error> {
    match rayon::current_num_threads() {
        1 => run(&options),
        _ => rayon::scope(|_| run(&options)),
    }
}

fn run(options: &Options) -> Result<(), Error> {
    options.check()?;
    let text = Text::load(options.text.as_deref())?;
    options.device.seed(options.seed);
    match options.precision {
        Precision::Qat => {
            let student = LanguageModel::new(init::<BitLinear>(options, &text));
            let (lm, run) = match &options.teacher {
                Some(teacher) => {
                    let distiller = distillation::distiller(student, teacher, &text, options)?;
                    let (distiller, run) = train(distiller, options, &text)?;
                    (distiller.student.lm, run)
                }
                None => {
                    let (model, run) = train(student, options, &text)?;
                    (model.lm, run)
                }
            };
            finish_qat(&lm, &run, options, &text)
        }
        Precision::Fp => {
            let model = LanguageModel::new(init::<Linear>(options, &text));
            let (model, run) = train(model, options, &text)?;
            let valid_loss = text.valid_loss(&model.lm)?;
            print_sample(&model.lm, &text, options.seed)?;
            report::print(options, valid_loss, &run);
            Ok(())
        }
    }
}

/// Reports on the deployed form: 2 bits per weight, with the outputs of training.
fn finish_qat(
    lm: &BitNetLm<BitLinear>,
    run: &Run,
    options: &Options,
    text: &Text,
) -> Result<(), Error> {
    let valid_loss = text.valid_loss(lm)?;
    let packed = lm.pack();
    println!(
        "packed to 2 bits per projection weight: validation loss {:.6}, trained {valid_loss:.6}",
        text.valid_loss(&packed)?
    );
    print_sample(&packed, text, options.seed)?;
    report::print(options, valid_loss, run);
    Ok(())
}

/// Initializes a model for training.
fn init<P: TrainableProjection>(options: &Options, text: &Text) -> BitNetLm<P> {
    let lm = text
        .lm_config()
        .with_scheme(options.scheme())
        .init::<P>(&options.device.clone().autodiff());
    let (lm, states) = match options.memory {
        Memory::Full => (lm, OptimizerStates::AdamW),
        Memory::Small => (
            cast_latent_weights(lm, FloatDType::BF16),
            OptimizerStates::AdamW8bit,
        ),
    };
    println!("{} parameters", lm.num_params());
    let plan = MemoryPlanConfig::new(BATCH, CONTEXT).with_optimizer(states);
    println!("{}", plan.plan(&lm));
    lm
}
