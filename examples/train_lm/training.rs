//! Training of a model with `Trainer`.

use std::time::Instant;

use bitnet_burn::{
    quant::schedule::{ProgressiveSchedule, ProgressiveShape},
    text::dataset::TokenBatch,
    train::{
        TokenLoss, Trainer,
        checkpoint::CheckpointPolicy,
        config::{OptimizerKind, TrainingConfig},
    },
};
use bitnet_burn_examples::{Error, STEPS_PER_EPOCH, Text, training_config, warm_up_steps};
use burn::train::{
    FileApplicationLoggerInstaller, InferenceStep, LearnerModel, TrainStep,
    metric::{Adaptor, LearningRateMetric, LossInput},
};

use crate::{
    options::{Memory, Options, Precision},
    run_folder,
};

/// Duration of a training.
pub struct Run {
    /// Number of optimizer steps, without those before a resumed checkpoint.
    pub steps: usize,
    /// Wall-clock time, including validation.
    pub seconds: f64,
}

/// Trains a model; returns it for inference.
pub fn train<M>(
    model: M,
    options: &Options,
    text: &Text,
    checkpoints: CheckpointPolicy,
) -> Result<(M, Run), Error>
where
    M: LearnerModel + TrainStep<Input = TokenBatch> + InferenceStep<Input = TokenBatch>,
    <M as TrainStep>::Output: Adaptor<LossInput> + Adaptor<TokenLoss>,
    <M as InferenceStep>::Output: Adaptor<LossInput> + Adaptor<TokenLoss>,
{
    let log = FileApplicationLoggerInstaller::new(options.out.join("experiment.log"));
    let trainer = Trainer::new(model, config(options, checkpoints)?)?
        .with_token_losses()
        .with_metrics_folder(&options.out)
        .with_training(|training| {
            training
                .metric_train_numeric(LearningRateMetric::new())
                .with_application_logger(Some(Box::new(log)))
        });
    let train = text.train_windows(options.seed, options.steps, STEPS_PER_EPOCH)?;
    let start = Instant::now();
    let trained = trainer.train(train, text.valid_windows()?)?;
    let run = Run {
        steps: trained.report.steps_here,
        seconds: start.elapsed().as_secs_f64(),
    };
    Ok((trained.model, run))
}

fn config(options: &Options, checkpoints: CheckpointPolicy) -> Result<TrainingConfig, Error> {
    let (steps, peak) = (options.steps, options.learning_rate);
    let mut config = training_config(steps, peak, warm_up_steps(steps), options.seed);
    if options.memory == Memory::Small {
        config.optimizer.kind = OptimizerKind::AdamW8bit;
        config.optimizer.stochastic_rounding = true;
    }
    if options.precision == Precision::Qat {
        let lambda = ProgressiveSchedule::new(ProgressiveShape::Linear, 0, options.progressive)?;
        config.schedule.progressive = Some(lambda);
    }
    config.monitoring.log_file = Some(run_folder::log_file(options));
    config.checkpoints = Some(checkpoints);
    Ok(config)
}
