use bitnet_burn::{
    nn::{BitNetLm, Projection},
    train::{
        LanguageModel, Trainer,
        config::{LearningRateConfig, RunConfig, TrainingConfig},
    },
};

use crate::{Error, STEPS_PER_EPOCH, Text};

/// Returns a configuration with AdamW, gradient norm clipping at 1, a linear warm-up of the learning rate
/// and a cosine schedule to a tenth of its peak at the last step.
pub fn training_config(steps: usize, peak: f64, warm_up_steps: usize, seed: u64) -> TrainingConfig {
    TrainingConfig {
        training: RunConfig {
            steps,
            epochs: steps.div_ceil(STEPS_PER_EPOCH),
            seed,
            ..RunConfig::default()
        },
        learning_rate: LearningRateConfig::Cosine {
            peak,
            warm_up_steps,
            end: 0.1,
        },
        ..TrainingConfig::default()
    }
}

/// Returns the number of warm-up steps of training from scratch: 100, or half of a short training.
pub fn warm_up_steps(steps: usize) -> usize {
    100.min(steps.div_ceil(2)).min(steps.saturating_sub(1))
}

/// Trains a model on a text; returns it for inference.
///
/// # Errors
///
/// If the configuration is invalid, or the training fails.
pub fn train<P: Projection>(
    text: &Text,
    lm: BitNetLm<P>,
    config: TrainingConfig,
) -> Result<BitNetLm<P>, Error> {
    let run = &config.training;
    let train = text.train_windows(run.seed, run.steps, STEPS_PER_EPOCH)?;
    let trainer = Trainer::new(LanguageModel::new(lm), config)?.with_token_losses();
    let trained = trainer.train(train, text.valid_windows()?)?;
    Ok(trained.model.lm)
}
