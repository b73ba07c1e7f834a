//! Training with Burn's `Learner`, the same for teacher and students.

use std::{error::Error, sync::Arc};

use bitnet_burn::train::{
    CallbackStrategy, SilentRenderer, TrainingFailure, callback::PlainProgress,
};
use burn::{
    data::dataloader::DataLoader,
    lr_scheduler::{
        LrSchedulerConfig, cosine::CosineAnnealingLrSchedulerConfig,
        linear::LinearLrSchedulerConfig, module_lr_scheduler::ModuleLrScheduler,
        sequential::SequentialLrSchedulerConfig,
    },
    optim::AdamWConfig,
    tensor::Device,
    train::{
        InferenceStep, Learner, LearnerModel, SupervisedTraining, TrainStep,
        metric::{Adaptor, LossInput, LossMetric},
    },
};

use crate::{data::STEPS_PER_EPOCH, options::Options};

/// Trains a model; returns it for inference.
pub fn train<M: LearnerModel>(
    name: &str,
    model: M,
    options: &Options,
    train: Arc<dyn DataLoader<<M as TrainStep>::Input>>,
    valid: Arc<dyn DataLoader<<M as InferenceStep>::Input>>,
) -> Result<M, Box<dyn Error>>
where
    <M as TrainStep>::Output: Adaptor<LossInput>,
    <M as InferenceStep>::Output: Adaptor<LossInput>,
{
    println!("{name}: {} parameters", model.num_params());
    let optimizer = AdamWConfig::new()
        .with_beta_1(0.9)
        .with_beta_2(0.95)
        .with_epsilon(1e-8)
        .with_weight_decay(0.01)
        .init();
    let learner = Learner::new(model, optimizer, lr_scheduler(options)?);
    let strategy = CallbackStrategy::new(Device::default())
        .with_seed(options.seed)
        .with_callback(PlainProgress::new().with_total_steps(options.steps));
    let training = SupervisedTraining::new(options.out.join(name), train, valid)
        .metric_train_numeric(LossMetric::new())
        .metric_valid_numeric(LossMetric::new())
        .with_training_strategy(strategy.into())
        .renderer(Box::new(SilentRenderer))
        .num_epochs(options.steps.div_ceil(STEPS_PER_EPOCH));
    let result = training.launch(learner);
    match result.error {
        Some(error) => Err(error.reason().into()),
        None => Ok(result.model),
    }
}

/// Linear warm-up over 100 steps, then a cosine to a tenth of the peak.
fn lr_scheduler(options: &Options) -> Result<ModuleLrScheduler, String> {
    let (peak, steps) = (options.learning_rate, options.steps);
    let warm_up = 100.min(steps.div_ceil(2));
    let first = peak / warm_up as f64;
    let ramp = LinearLrSchedulerConfig::new(first, peak, (warm_up - 1).max(1));
    let cosine = CosineAnnealingLrSchedulerConfig::new(peak, (steps - warm_up).max(1))
        .with_min_lr(0.1 * peak);
    SequentialLrSchedulerConfig::new(
        vec![
            LrSchedulerConfig::Linear(ramp),
            LrSchedulerConfig::Cosine(cosine),
        ],
        vec![warm_up],
    )
    .init()
}
