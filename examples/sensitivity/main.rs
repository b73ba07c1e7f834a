//! Sensitivity of the layers of a BitNet to quantization, and the gain of a few more bits for them:
//! `cargo run --release --example sensitivity -- --help`.

use std::{path::PathBuf, process::ExitCode};

use bitnet_burn::{
    monitor::{ErrorHistory, HtmlReport},
    nn::{BitLinear, BitNetLm},
    qat::{MixedPrecisionPlan, PlanBudget, QuantControls, Sensitivity, SensitivityReport},
    quant::QatScheme,
};
use bitnet_burn_examples::{Error, Text, count, run_example, train, training_config};
use burn::{module::Module, nn::Linear, tensor::Device};
use clap::Parser;
use serde_json::json;

/// Number of batches over which a loss is averaged.
const BATCHES: usize = 8;

/// Peak learning rate.
const PEAK: f64 = 2e-3;

/// Trains a full-precision language model, measures how much ternary weights in each layer increase the loss,
/// assigns more bits to sensitive layers within a budget, and fine-tunes both ways.
#[derive(Parser)]
#[command(name = "sensitivity")]
struct Options {
    /// Training steps; fine-tuning takes a third of them
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = count)]
    steps: usize,
    /// Budget of the plan, average bits per weight
    #[arg(long, value_name = "X", default_value_t = 3.0)]
    bits: f64,
    /// File for a chart of the sensitivities [default: none]
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

fn main() -> ExitCode {
    run_example(run)
}

fn run(options: Options) -> Result<(), Error> {
    let device = Device::default();
    device.seed(0);
    let text = Text::load(None)?;
    println!("full precision");
    let lm = text.lm_config().init::<Linear>(&device.autodiff());
    let float = train(&text, lm, training_config(options.steps, PEAK, 0, 0))?;

    let sensitivity = sensitivity(&float, &text)?;
    println!("\n{sensitivity}");
    let plan = MixedPrecisionPlan::within(PlanBudget::BitsPerWeight(options.bits), &sensitivity)?;
    println!("plan of {} bits per weight:\n{plan}", options.bits);
    if let Some(path) = &options.html {
        HtmlReport::new("Sensitivity of the layers", &ErrorHistory::default())
            .with_sensitivity(sensitivity.bars())
            .save(path)?;
    }

    let none = MixedPrecisionPlan::default();
    println!("fine-tuning, all layers ternary");
    let ternary = fine_tune(&float, &none, &text, options.steps)?;
    println!("fine-tuning by the plan");
    let planned = fine_tune(&float, &plan, &text, options.steps)?;

    let kib = |plan: &MixedPrecisionPlan| plan.num_bits(&sensitivity) / 8.0 / 1024.0;
    let weights: usize = sensitivity.layers.iter().map(|layer| layer.weights).sum();
    let float_loss = text.valid_loss(&float)?;
    let float_kib = weights as f64 * 4.0 / 1024.0;
    println!(
        "\n{:<14} {:>9} {:>10} {:>11}",
        "", "KiB", "converted", "fine-tuned"
    );
    println!("{:<14} {float_kib:>9.1} {float_loss:>10.4}", "float");
    for (name, plan, losses) in [("all ternary", &none, &ternary), ("plan", &plan, &planned)] {
        println!(
            "{name:<14} {:>9.1} {:>10.4} {:>11.4}",
            kib(plan),
            losses.converted,
            losses.fine_tuned
        );
    }
    let line = json!({
        "float": float_loss,
        "ternary": ternary.fine_tuned,
        "plan": planned.fine_tuned,
        "ternary_kib": kib(&none),
        "plan_kib": kib(&plan),
        "most_sensitive": sensitivity.layers[0].layer,
    });
    println!("{line}");
    Ok(())
}

/// Converts to a model in training, with the same weights and quantized projections.
fn bitnet(float: &BitNetLm<Linear>) -> BitNetLm<BitLinear> {
    float.clone().train().into_bitnet(&QatScheme::b1_58())
}

/// Measures how much ternary weights in each layer increase the loss.
fn sensitivity(float: &BitNetLm<Linear>, text: &Text) -> Result<SensitivityReport, Error> {
    let lm = bitnet(float).valid();
    let controls = QuantControls::of(&lm);
    let report = Sensitivity::default().measure(&controls, || text.loss_of_batches(&lm, BATCHES));
    report.map_err(|error| error.to_string().into())
}

/// Validation losses.
struct Losses {
    converted: f64,
    fine_tuned: f64,
}

/// Fine-tunes with the bits of a plan, for a third of the training steps.
fn fine_tune(
    float: &BitNetLm<Linear>,
    plan: &MixedPrecisionPlan,
    text: &Text,
    steps: usize,
) -> Result<Losses, Error> {
    let lm = bitnet(float);
    QuantControls::of(&lm).apply_plan(plan)?;
    let converted = text.valid_loss(&lm.valid())?;
    let lm = train(text, lm, training_config(steps.div_ceil(3), PEAK, 0, 1))?;
    let fine_tuned = text.valid_loss(&lm)?;
    Ok(Losses {
        converted,
        fine_tuned,
    })
}
