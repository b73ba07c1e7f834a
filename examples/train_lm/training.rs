//! Training of a model with `Trainer`.

use std::time::Instant;

use bitnet_burn::{
    quant::schedule::{ProgressiveSchedule, ProgressiveShape},
    text::dataset::TokenBatch,
    train::{
        RunFolder, RunFolderError, RunIdentity, TokenLoss, Trainer,
        checkpoint::{CheckpointPolicy, Resume},
        config::{OptimizerKind, TrainingConfig},
    },
};
use bitnet_burn_examples::{Error, STEPS_PER_EPOCH, Text, training_config, warm_up_steps};
use burn::train::{
    FileApplicationLoggerInstaller, InferenceStep, LearnerModel, TrainStep,
    metric::{Adaptor, LearningRateMetric, LossInput},
};

use crate::options::{Memory, Options, Precision};

/// Duration of a training.
pub struct Run {
    /// Number of optimizer steps, without those before a resumed checkpoint.
    pub steps: usize,
    /// Wall-clock time, including validation.
    pub seconds: f64,
}

/// Trains a model; returns it for inference.
pub fn train<M>(model: M, options: &Options, text: &Text) -> Result<(M, Run), Error>
where
    M: LearnerModel + TrainStep<Input = TokenBatch> + InferenceStep<Input = TokenBatch>,
    <M as TrainStep>::Output: Adaptor<LossInput> + Adaptor<TokenLoss>,
    <M as InferenceStep>::Output: Adaptor<LossInput> + Adaptor<TokenLoss>,
{
    let folder = RunFolder::new(&options.out);
    let config = config(options, text, &folder)?;
    open(&folder, options, &config).map_err(|error| with_flags(&error))?;
    let log = FileApplicationLoggerInstaller::new(folder.metrics().join("experiment.log"));
    let trainer = Trainer::new(model, config)?
        .with_token_losses()
        .with_metrics_folder(folder.metrics())
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

fn config(options: &Options, text: &Text, folder: &RunFolder) -> Result<TrainingConfig, Error> {
    let (steps, peak) = (options.steps, options.learning_rate);
    let mut config = training_config(steps, peak, warm_up_steps(steps), options.seed);
    if options.memory == Memory::Small {
        config.optimizer.kind = OptimizerKind::AdamW8bit;
        config.optimizer.stochastic_rounding = true;
    }
    if options.precision == Precision::Qat {
        config.qat = options.scheme();
        let lambda = ProgressiveSchedule::new(ProgressiveShape::Linear, 0, options.progressive)?;
        config.schedule.progressive = Some(lambda);
    }
    // What a resumed run must keep, beside its configuration.
    let (same, teacher) = (RunIdentity::of(&config)?.fingerprint(), &options.teacher);
    let fingerprint = format!(
        "{same}, teacher {teacher:?}, {} characters",
        text.train_len()
    );
    let policy = CheckpointPolicy::new(folder.checkpoints()).every_steps(100);
    config.checkpoints = Some(match options.resume {
        true => policy.resume(Resume::Latest).fingerprint(fingerprint),
        false => policy.fingerprint(fingerprint),
    });
    folder.configure(&mut config);
    Ok(config)
}

/// Prepares the folder, or finds the run in it.
fn open(
    folder: &RunFolder,
    options: &Options,
    config: &TrainingConfig,
) -> Result<(), RunFolderError> {
    match (options.resume, options.overwrite) {
        (true, _) => folder.resume().map(|_| ()),
        (_, true) => folder.overwrite(&config.to_toml()),
        _ => folder.begin(&config.to_toml()),
    }
}

/// Replaces functions of the library in a message by the flags that call them.
fn with_flags(error: &RunFolderError) -> String {
    let message = error.to_string().replace("RunFolder::new", "--out");
    message.replace("RunFolder::", "--")
}
