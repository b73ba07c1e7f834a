//! A callback of one's own: quantisation that goes on as fast as the loss allows.
//! `cargo run --release --example custom_callback -- [STEPS]`

#[allow(dead_code)] // The prompt is for samples of text, of which there are none here.
#[path = "../train_lm/data.rs"]
mod data;
#[path = "../train_lm/model.rs"]
mod model;

use std::{error::Error, process::ExitCode, sync::Arc};

use bitnet_burn::{
    nn::BitLinear,
    qat::QuantControls,
    train::{
        CallbackStrategy, SilentRenderer, TrainingFailure,
        callback::{Callback, CallbackResult, PlainProgress, TrainOutputOf, TrainingRun},
    },
};
use burn::{
    optim::AdamWConfig,
    tensor::Device,
    train::{
        Learner, LearnerModel, SequenceOutput, SupervisedTraining, TrainStep, metric::LossMetric,
        metric::store::Split,
    },
};
use serde_json::json;

use data::{Corpus, STEPS_PER_EPOCH};
use model::LanguageModel;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Steps without an argument.
const STEPS: usize = 300;

/// Quantises a little more after each step whose loss is not above its mean of late.
struct AsFastAsTheLossAllows {
    controls: QuantControls,
    lambda: f64,
    mean: f64,
}

impl<M> Callback<M> for AsFastAsTheLossAllows
where
    M: LearnerModel + TrainStep<Output = SequenceOutput>,
{
    fn name(&self) -> &str {
        "as_fast_as_the_loss_allows"
    }

    fn after_optimizer_step(
        &mut self,
        run: &mut TrainingRun<M>,
        output: &TrainOutputOf<M>,
    ) -> CallbackResult {
        let loss = f64::from(output.loss.clone().into_scalar::<f32>());
        if self.lambda < 1.0 && loss <= self.mean {
            self.lambda = (self.lambda + 0.02).min(1.0);
            self.controls.set_lambda(self.lambda);
            if self.lambda == 1.0 {
                run.notify("as_fast_as_the_loss_allows", "quantized in full");
            }
        }
        self.mean = 0.9 * self.mean + 0.1 * loss;
        Ok(())
    }

    // So that a training that is resumed goes on where it was.
    fn state(&self) -> Option<serde_json::Value> {
        Some(json!([self.lambda, self.mean]))
    }

    fn load_state(&mut self, state: serde_json::Value) -> CallbackResult {
        [self.lambda, self.mean] = serde_json::from_value(state)?;
        Ok(())
    }
}

/// Keeps the last validation loss.
#[derive(Clone, Default)]
struct LastLoss(Arc<std::sync::Mutex<Option<f64>>>);

impl<M: LearnerModel> Callback<M> for LastLoss {
    fn name(&self) -> &str {
        "last_loss"
    }

    fn on_validation_end(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        *self.0.lock().map_err(|error| error.to_string())? = run.metric("Loss", Split::Valid);
        Ok(())
    }
}

fn main() -> ExitCode {
    let steps = match std::env::args().nth(1).map(|steps| steps.parse()) {
        None => STEPS,
        Some(Ok(steps)) if steps > 0 => steps,
        Some(_) => {
            eprintln!("custom_callback: the argument is a number of steps, 1 or more");
            return ExitCode::from(2);
        }
    };
    match run(steps) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("custom_callback: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(steps: usize) -> Result<(), Box<dyn Error>> {
    let corpus = Corpus::load(None)?;
    println!("quantised in full from the first step");
    let plain = train(&corpus, steps, false)?;
    println!("as fast as the loss allows");
    let adaptive = train(&corpus, steps, true)?;
    println!("validation loss: plain {plain:.4}, with the callback {adaptive:.4}");
    println!(
        "{}",
        json!({"steps": steps, "plain": plain, "adaptive": adaptive})
    );
    Ok(())
}

/// Trains and returns the validation loss.
fn train(corpus: &Corpus, steps: usize, adaptive: bool) -> Result<f64, Box<dyn Error>> {
    let device = Device::default();
    device.seed(0);
    let config = model::config(corpus.vocabulary.len());
    let model = LanguageModel {
        lm: config.init::<BitLinear>(&device.clone().autodiff()),
    };
    let loss = LastLoss::default();
    let mut strategy = CallbackStrategy::new(device.clone())
        .with_callback(PlainProgress::new().with_total_steps(steps))
        .with_callback(loss.clone());
    if adaptive {
        let controls = QuantControls::of(&model);
        controls.set_lambda(0.0);
        // One line adds it.
        strategy = strategy.with_callback(AsFastAsTheLossAllows {
            controls,
            lambda: 0.0,
            mean: f64::MAX,
        });
    }
    let optimizer = AdamWConfig::new()
        .with_beta_2(0.95)
        .with_epsilon(1e-8)
        .init();
    let learner = Learner::new(model, optimizer, 1e-3);
    let train = Arc::new(corpus.train_loader(0, steps));
    let valid = Arc::new(corpus.valid_loader(&device));
    let folder = std::env::temp_dir().join("custom_callback");
    let result = SupervisedTraining::new(folder, train, valid)
        .metric_train_numeric(LossMetric::new())
        .metric_valid_numeric(LossMetric::new())
        .with_training_strategy(strategy.into())
        .renderer(Box::new(SilentRenderer))
        .num_epochs(steps.div_ceil(STEPS_PER_EPOCH))
        .launch(learner);
    if let Some(error) = result.error {
        return Err(error.reason().into());
    }
    let loss = *loss.0.lock().map_err(|error| error.to_string())?;
    loss.ok_or_else(|| "there was no validation".into())
}
