use std::{io, path::PathBuf, sync::Arc};

use burn::{
    lr_scheduler::module_lr_scheduler::ModuleLrScheduler,
    optim::ModuleOptimizer,
    train::{
        InferenceStep, Learner, LearnerModel, SupervisedTraining, TrainStep, TrainingError,
        ValidLoader,
        metric::{Adaptor, LossInput, LossMetric},
    },
};

use super::{
    CallbackStrategy, SilentRenderer, TokenLoss, TokenLossMetric, Trained, TrainingData,
    TrainingFailure,
    callback::{Callback, ReportRecorder, TrainOutputOf},
    checkpoint::{CheckpointError, CheckpointFolder, CheckpointPolicy},
    config::{TrainingConfig, TrainingConfigError, TrainingHandles},
    gradients::{has_gradient_checkpointing, with_gradients},
};
use crate::monitor::SharedErrorHistory;

/// Trains a model by a [`TrainingConfig`], with Burn's `Learner`.
///
/// The configuration sets the steps, the optimizer with its parameter groups, the learning rate,
/// the schedules of quantization, calibration, checkpoints and monitoring. The program provides the
/// model and the data. The model implements Burn's `TrainStep` and `InferenceStep` with an output
/// that contains a loss, such as a [`LanguageModel`](super::LanguageModel). It is trained on the
/// device of its parameters.
///
/// # Example
///
#[cfg_attr(feature = "text", doc = "```no_run")]
#[cfg_attr(not(feature = "text"), doc = "```ignore")]
/// use bitnet_burn::{
///     nn::{BitLinear, BitNetLmConfig},
///     text::{Tokenizer, dataset::{EvenWindowsConfig, RandomWindowsConfig, read_text}},
///     train::{LanguageModel, Trainer, config::TrainingConfig},
/// };
/// use burn::{module::Module, tensor::Device};
/// use std::sync::Arc;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = Device::default();
/// let text = read_text("book.txt")?;
/// let tokenizer = Tokenizer::characters(&text)?;
/// let tokens = tokenizer.encode(&text)?;
/// let (train, valid) = tokens.split_at(tokens.len() / 10 * 9);
///
/// let config = TrainingConfig::from_toml("training = { steps = 1500, epochs = 6 }")?;
/// let train = RandomWindowsConfig::new(64, 32, config.training.steps)
///     .with_steps_per_epoch(Some(250))
///     .init(train.to_vec(), &device)?;
/// let valid = EvenWindowsConfig::new(64, 32, 1024).init(valid.to_vec(), &device)?;
///
/// let lm = BitNetLmConfig::new(tokenizer.vocab_size(), 128, 2, 4, 384)
///     .with_scheme(config.qat.clone())
///     .init::<BitLinear>(&device.autodiff());
/// let trained = Trainer::new(LanguageModel::new(lm), config)?
///     .with_token_losses()
///     .train(Arc::new(train), Arc::new(valid))?;
/// println!("validation loss {:?}", trained.report.valid_loss);
/// trained.model.lm.pack().save_file("model.bpk")?;
/// # Ok(())
/// # }
/// ```
pub struct Trainer<M: LearnerModel> {
    model: M,
    config: TrainingConfig,
    strategy: CallbackStrategy<M>,
    optimizer: ModuleOptimizer,
    scheduler: ModuleLrScheduler,
    handles: TrainingHandles,
    report: ReportRecorder,
    metrics_folder: Option<PathBuf>,
    /// Changes to Burn's training before it is launched.
    training: Vec<Configure<M>>,
    has_loss_metric: bool,
}

type Configure<M> = Box<dyn FnOnce(SupervisedTraining<M>) -> SupervisedTraining<M>>;

/// Error of a training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainerError {
    /// The training ended with an error of the data, a callback or a checkpoint.
    /// [`TrainingFailure`] returns the original error.
    #[error("{}", .0.reason())]
    Training(Arc<TrainingError>),
    /// The checkpoints of the run cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The folder for the files of metrics cannot be created.
    #[error("cannot make a folder for the files of metrics: {0}")]
    Metrics(#[source] io::Error),
}

impl<M: LearnerModel> Trainer<M>
where
    TrainOutputOf<M>: Adaptor<LossInput>,
{
    /// Creates a training of a model that was built with the [scheme](TrainingConfig::qat) of the
    /// configuration. Gradients are turned on in a model without, such as one that was loaded on a device without
    /// autodiff: parameters that are frozen stay so.
    ///
    /// # Errors
    ///
    /// If a value of the configuration is out of range, a group of the optimizer matches no
    /// parameter of the model or shares one with another group, a schedule does not fit the
    /// model, all its parameters are frozen, or it has no gradient checkpointing where the configuration does.
    pub fn new(model: M, config: TrainingConfig) -> Result<Self, TrainingConfigError> {
        let model = with_gradients(model)?;
        if config.training.gradient_checkpointing && !has_gradient_checkpointing(&model) {
            return Err(TrainingConfigError::NoGradientCheckpointing);
        }
        let handles = TrainingHandles::default();
        let report = ReportRecorder::default();
        let device = model.devices().into_iter().next().unwrap_or_default();
        let strategy = config.strategy(device, &model, &handles)?;
        config.optimizer.check_groups(&model)?;
        Ok(Self {
            optimizer: config.optimizer.init(config.training.seed)?,
            scheduler: config.scheduler(&model, &handles)?,
            strategy: strategy.with_callback(report.clone()),
            report,
            model,
            config,
            handles,
            metrics_folder: None,
            training: Vec::new(),
            has_loss_metric: false,
        })
    }

    /// Adds a callback, which is called after those of the configuration and those added before.
    ///
    /// # Panics
    ///
    /// If another callback has the same name.
    #[track_caller]
    #[must_use]
    pub fn with_callback(mut self, callback: impl Callback<M> + 'static) -> Self {
        self.strategy = self.strategy.with_callback(callback);
        self
    }

    /// Replaces the optimizer of the configuration.
    #[must_use]
    pub fn with_optimizer(mut self, optimizer: impl Into<ModuleOptimizer>) -> Self {
        self.optimizer = optimizer.into();
        self
    }

    /// Replaces the learning rate schedule of the configuration.
    #[must_use]
    pub fn with_scheduler(mut self, scheduler: impl Into<ModuleLrScheduler>) -> Self {
        self.scheduler = scheduler.into();
        self
    }

    /// Sets the folder of burn-train's metric files. Without it they are not kept.
    #[must_use]
    pub fn with_metrics_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.metrics_folder = Some(folder.into());
        self
    }

    /// Modifies Burn's training before it is launched: for metrics, loggers, a renderer or early
    /// stopping of burn-train.
    #[must_use]
    pub fn with_training(
        mut self,
        configure: impl FnOnce(SupervisedTraining<M>) -> SupervisedTraining<M> + 'static,
    ) -> Self {
        self.training.push(Box::new(configure));
        self
    }

    /// Weights accumulated batches by their tokens, and reports the loss as the mean over all
    /// tokens of an epoch ([`TokenLossMetric`]).
    #[must_use]
    pub fn with_token_losses(mut self) -> Self
    where
        TrainOutputOf<M>: Adaptor<TokenLoss>,
        <M as InferenceStep>::Output: Adaptor<TokenLoss>,
    {
        self.strategy = self.strategy.with_token_weights();
        self.has_loss_metric = true;
        self.with_training(|training| {
            training
                .metric_train_numeric(TokenLossMetric::new())
                .metric_valid_numeric(TokenLossMetric::new())
        })
    }

    /// Returns the quantization errors measured so far, for a
    /// [`QuantizationErrorMetric`](super::QuantizationErrorMetric) or a program that shows them
    /// during training.
    pub fn history(&self) -> &SharedErrorHistory {
        &self.handles.history
    }

    /// Trains the model, and validates it at the end of each epoch.
    ///
    /// # Errors
    ///
    /// If the data, a callback or a checkpoint fails.
    pub fn train(
        mut self,
        train: impl Into<TrainingData<<M as TrainStep>::Input>>,
        valid: ValidLoader<M>,
    ) -> Result<Trained<M>, TrainerError>
    where
        <M as InferenceStep>::Output: Adaptor<LossInput>,
    {
        let TrainingData { loader, seek } = train.into();
        let (folder, _unkept) = match self.metrics_folder.take() {
            Some(folder) => (folder, None),
            None => {
                let unkept = tempfile::tempdir().map_err(TrainerError::Metrics)?;
                (unkept.path().to_path_buf(), Some(unkept))
            }
        };
        let training = SupervisedTraining::new(folder, loader, valid)
            .with_application_logger(None)
            .renderer(Box::new(SilentRenderer))
            .num_epochs(self.config.training.epochs);
        let training = match self.has_loss_metric {
            true => training,
            false => training
                .metric_train_numeric(LossMetric::new())
                .metric_valid_numeric(LossMetric::new()),
        };
        let training = (self.training.drain(..)).fold(training, |training, f| f(training));
        let training = match self.config.training.grad_accumulation {
            1 => training,
            batches => training.grads_accumulation(batches),
        };
        let training = training.with_training_strategy(self.strategy.with_seek(seek).into());
        let learner = Learner::new(self.model, self.optimizer, self.scheduler);
        let result = training.launch(learner);
        if let Some(error) = result.error {
            return Err(TrainerError::Training(error));
        }
        let best = match &self.config.checkpoints {
            Some(CheckpointPolicy {
                folder,
                keep_best: Some(metric),
                ..
            }) => CheckpointFolder::new(folder).best(metric)?,
            _ => None,
        };
        Ok(Trained {
            model: result.model,
            best,
            history: self.handles.history.get(),
            report: self.report.report(),
        })
    }
}
