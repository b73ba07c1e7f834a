//! A custom callback: quantization strength that increases as the loss allows.
//! `cargo run --release --example custom_callback -- [STEPS]`

use std::process::ExitCode;

use bitnet_burn::{
    nn::BitLinear,
    qat::QuantControls,
    train::{
        LanguageModel, Trainer,
        callback::{Callback, CallbackResult, TrainingRun},
    },
};
use bitnet_burn_examples::{
    Error, STEPS_PER_EPOCH, Text, count, run_example, training_config, warm_up_steps,
};
use burn::{tensor::Device, train::LearnerModel};
use clap::Parser;
use serde_json::json;

/// Trains a BitNet b1.58 character language model twice: fully quantized from the first step, and with a
/// callback that increases the quantization after each step whose loss allows it.
#[derive(Parser)]
#[command(name = "custom_callback")]
struct Options {
    /// Optimizer steps of each training
    #[arg(value_name = "STEPS", default_value_t = 300, value_parser = count)]
    steps: usize,
}

/// Increases lambda after each step whose loss is not above its moving average.
struct AsFastAsTheLossAllows {
    controls: QuantControls,
    lambda: f64,
    mean: Option<f64>,
}

impl<M: LearnerModel> Callback<M> for AsFastAsTheLossAllows {
    fn name(&self) -> &str {
        "as_fast_as_the_loss_allows"
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let loss = run.step_loss()?;
        let mean = self.mean.unwrap_or(loss);
        if self.lambda < 1.0 && loss <= mean {
            self.lambda = (self.lambda + 0.02).min(1.0);
            self.controls.set_lambda(self.lambda);
            if self.lambda == 1.0 {
                run.notify("as_fast_as_the_loss_allows", "quantized in full");
            }
        }
        self.mean = Some(0.9 * mean + 0.1 * loss);
        Ok(())
    }

    // Saved in checkpoints, so that a resumed training continues with the same state.
    fn state(&self) -> Option<serde_json::Value> {
        Some(json!((self.lambda, self.mean)))
    }

    fn load_state(&mut self, state: serde_json::Value) -> CallbackResult {
        (self.lambda, self.mean) = serde_json::from_value(state)?;
        Ok(())
    }
}

fn main() -> ExitCode {
    run_example(run)
}

fn run(Options { steps }: Options) -> Result<(), Error> {
    let text = Text::load(None)?;
    println!("fully quantized from the first step");
    let plain = train(&text, steps, false)?;
    println!("as fast as the loss allows");
    let adaptive = train(&text, steps, true)?;
    println!("validation loss: plain {plain:.4}, with the callback {adaptive:.4}");
    println!(
        "{}",
        json!({"steps": steps, "plain": plain, "adaptive": adaptive})
    );
    Ok(())
}

/// Trains a model and returns its validation loss.
fn train(text: &Text, steps: usize, adaptive: bool) -> Result<f64, Error> {
    let device = Device::default();
    device.seed(0);
    let lm = text.lm_config().init::<BitLinear>(&device.autodiff());
    let controls = QuantControls::of(&lm);
    let config = training_config(steps, 1e-3, warm_up_steps(steps), 0);
    let mut trainer = Trainer::new(LanguageModel::new(lm), config)?.with_token_losses();
    if adaptive {
        controls.set_lambda(0.0);
        // A callback is added in one line.
        trainer = trainer.with_callback(AsFastAsTheLossAllows {
            controls,
            lambda: 0.0,
            mean: None,
        });
    }
    let train = text.train_windows(0, steps, STEPS_PER_EPOCH)?;
    let trained = trainer.train(train, text.valid_windows()?)?;
    let loss = trained.report.valid_loss;
    loss.ok_or_else(|| "there was no validation".into())
}
