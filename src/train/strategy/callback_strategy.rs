use std::sync::{Arc, Mutex, PoisonError};

use burn::{
    tensor::Device,
    train::{
        Learner, LearnerModel, LearningResult, SupervisedLearningStrategy,
        SupervisedTrainingEventProcessor, TrainLoader, TrainStep, TrainingComponents,
        TrainingStrategy, ValidLoader,
        metric::{Adaptor, LossInput},
    },
};

use super::{loop_settings::LoopSettings, resume::Start, training_loop::TrainingLoop};
use crate::base::bounds::Bounds;
use crate::train::{
    SeekableDataLoader, TokenLoss,
    callback::{Callback, TrainOutputOf},
    checkpoint::CheckpointPolicy,
    placement::SingleDevice,
    training_data::Seek,
};

/// Burn's training loop on one device, extended by [`Callback`]s and checkpoints at any step.
///
/// Without callbacks, random operations and gradient accumulation it equals Burn's own strategy for
/// one device, step for step. Pass it to
/// [`with_training_strategy`](burn::train::SupervisedTraining::with_training_strategy); metrics,
/// loggers, renderers, early stopping and gradient accumulation work as with Burn's own.
///
/// # Gradient accumulation
///
/// The gradient of a step is the mean over its batches, weighted by
/// [items](Self::with_batch_weight) or by [tokens](Self::with_token_weights); Burn's own strategy
/// sums the gradients. Two batches of one sequence give the step of one batch of two, within
/// rounding, for every optimizer and with gradient clipping.
///
/// # Resuming
///
/// With [`checkpoints`](Self::with_checkpoints) an interrupted run resumes after the last
/// checkpoint with identical results. The model with its quantization controls, the optimizer, the
/// learning rate and the callbacks are loaded, batches that were trained on are skipped, and random
/// operations use the random numbers of their step.
///
/// The data loader must return the same batches again. Burn's loader with a fixed
/// [seed](burn::data::dataloader::DataLoaderBuilder::shuffle) does so with at most one worker
/// thread. With several, its order differs between runs: use
/// [`OrderedDataLoader`](crate::train::OrderedDataLoader). On Flex and NdArray the following steps
/// are then equal, bit for bit; GPUs may sum floats in another order in each run.
///
/// Burn's own checkpointers store neither the step nor the state of callbacks. It is an error to
/// resume a training with callbacks or [`max_steps`](Self::with_max_steps) from them
/// ([`SupervisedTraining::checkpoint`](burn::train::SupervisedTraining::checkpoint)).
///
/// The [guide](https://github.com/bitnet-burn/bitnet-burn/blob/main/docs/training.md) lists the
/// behavior in edge cases, such as a stop within accumulated batches or a rollback after a resume.
///
/// # Random operations
///
/// The device is seeded before each batch by the [seed](Self::with_seed) and the number of the
/// batch.
///
/// # Errors
///
/// An error of a callback or of a checkpoint ends the training. The
/// [`error`](LearningResult::error) of its result wraps it, prefixed with "Dataset error" or "I/O
/// Error": [`TrainingFailure`](crate::train::TrainingFailure) returns the original error.
///
/// # Example
///
/// ```no_run
/// use bitnet_burn::{
///     qat::QuantControls,
///     quant::schedule::ProgressiveSchedule,
///     train::{CallbackStrategy, callback::{NanGuard, ProgressiveQuantization, TrainOutputOf}, checkpoint::{CheckpointPolicy, Resume}},
/// };
/// use burn::train::{
///     Learner, LearnerModel, LearningResult, SupervisedTraining,
///     metric::{Adaptor, LossInput},
/// };
///
/// fn train<M: LearnerModel>(
///     training: SupervisedTraining<M>,
///     learner: Learner<M>,
/// ) -> LearningResult<M>
/// where
///     TrainOutputOf<M>: Adaptor<LossInput>,
/// {
///     let controls = QuantControls::of(&learner.model());
///     let strategy = CallbackStrategy::default()
///         .with_callback(ProgressiveQuantization::new(controls, ProgressiveSchedule::default()))
///         .with_callback(NanGuard::stop())
///         .with_checkpoints(
///             CheckpointPolicy::new("run/checkpoints").every_steps(500).resume(Resume::Latest),
///         );
///     training.with_training_strategy(strategy.into()).launch(learner)
/// }
/// ```
pub struct CallbackStrategy<M: LearnerModel>(LoopSettings<M>);

impl<M: LearnerModel> Default for CallbackStrategy<M>
where
    TrainOutputOf<M>: Adaptor<LossInput>,
{
    /// Creates a strategy on Burn's default device.
    fn default() -> Self {
        Self::new(Device::default())
    }
}

impl<M: LearnerModel> CallbackStrategy<M>
where
    TrainOutputOf<M>: Adaptor<LossInput>,
{
    /// Creates a strategy on a device, without callbacks and checkpoints.
    pub fn new(device: Device) -> Self {
        Self(LoopSettings {
            placement: Box::new(SingleDevice::new(device)),
            seed: 0,
            checkpoints: None,
            max_steps: None,
            loss: |output| output.adapt(),
            batch_weight: None,
            callbacks: Mutex::default(),
            seek: None,
        })
    }
}

impl<M: LearnerModel> CallbackStrategy<M> {
    /// Adds a callback, which is called after those added before.
    ///
    /// # Panics
    ///
    /// If another callback has the same name.
    #[track_caller]
    #[must_use]
    pub fn with_callback(self, callback: impl Callback<M> + 'static) -> Self {
        self.0.callbacks().push(Box::new(callback));
        self
    }

    /// Adds a callback, if there is one.
    pub(in crate::train) fn with_optional(
        self,
        callback: Option<impl Callback<M> + 'static>,
    ) -> Self {
        match callback {
            Some(callback) => self.with_callback(callback),
            None => self,
        }
    }

    /// Sets the checkpoint policy.
    #[must_use]
    pub fn with_checkpoints(mut self, policy: CheckpointPolicy) -> Self {
        self.0.checkpoints = Some(policy);
        self
    }

    /// Sets a training data loader that can [seek](crate::train::SeekableDataLoader): a resumed
    /// training starts at its batch without reading those before.
    #[must_use]
    pub fn with_seekable<L>(self, train: &Arc<L>) -> Self
    where
        L: SeekableDataLoader<<M as TrainStep>::Input> + ?Sized + 'static,
    {
        let train = train.clone();
        self.with_seek(Some(Box::new(move |epoch, batch| train.seek(epoch, batch))))
    }

    /// Sets the function that seeks in the data.
    pub(in crate::train) fn with_seek(mut self, seek: Option<Seek>) -> Self {
        self.0.seek = seek;
        self
    }

    /// Sets the seed of random operations; 0 by default.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }

    /// Sets the number of optimizer steps after which the training ends, for any number of batches
    /// per epoch. The last epoch is then shorter, and is validated.
    ///
    /// # Panics
    ///
    /// If it is 0.
    #[track_caller]
    #[must_use]
    pub fn with_max_steps(mut self, max_steps: usize) -> Self {
        Bounds::COUNT.assert("max_steps", max_steps);
        self.0.max_steps = Some(max_steps);
        self
    }

    /// Sets the weights of the batches of a step for gradient accumulation: the mean of their
    /// gradients `g_b` is `sum_b(w_b * g_b) / sum_b(w_b)`. The weight should be the number of
    /// elements that the loss of the batch is averaged over. By default it is the number of items
    /// that the data loader counts.
    ///
    /// A batch of weight 0 is ignored; a weight that is negative or not finite counts as 0.
    #[must_use]
    pub fn with_batch_weight(
        mut self,
        weight: impl Fn(&TrainOutputOf<M>) -> f64 + Send + Sync + 'static,
    ) -> Self {
        self.0.batch_weight = Some(Box::new(weight));
        self
    }

    /// Sets the [weight](Self::with_batch_weight) of a batch to its number of counted tokens:
    /// accumulated batches of any size and masks then give the step of one large batch.
    #[must_use]
    pub fn with_token_weights(self) -> Self
    where
        TrainOutputOf<M>: Adaptor<TokenLoss>,
    {
        self.with_batch_weight(|output| output.adapt().tokens as f64)
    }
}

impl<M: LearnerModel> From<CallbackStrategy<M>> for TrainingStrategy<M> {
    fn from(strategy: CallbackStrategy<M>) -> Self {
        Self::Custom(Arc::new(strategy))
    }
}

impl<M: LearnerModel> SupervisedLearningStrategy<M> for CallbackStrategy<M> {
    fn train(
        &self,
        mut learner: Learner<M>,
        dataloader_train: TrainLoader<M>,
        dataloader_valid: ValidLoader<M>,
        mut components: TrainingComponents<M>,
    ) -> LearningResult<M> {
        learner.fork(self.0.placement.device());
        let start = Start::find(&self.0, &mut learner, components.checkpoint);
        let start = start.unwrap_or_else(|error| Start::failed(&components.interrupter, error));
        // Burn reports the epoch after this one to its loggers as the first.
        components.checkpoint = Some(start.position.epoch - 1);
        let running = Running {
            settings: &self.0,
            start: Mutex::new(Some(start)),
        };
        running.train(learner, dataloader_train, dataloader_valid, components)
    }

    fn fit(
        &self,
        components: TrainingComponents<M>,
        learner: Learner<M>,
        dataloader_train: TrainLoader<M>,
        dataloader_valid: ValidLoader<M>,
        starting_epoch: usize,
    ) -> (M, SupervisedTrainingEventProcessor<M>) {
        let running = Running {
            settings: &self.0,
            start: Mutex::default(),
        };
        running.fit(
            components,
            learner,
            dataloader_train,
            dataloader_valid,
            starting_epoch,
        )
    }
}

/// Strategy with the start of the training.
struct Running<'a, M: LearnerModel> {
    settings: &'a LoopSettings<M>,
    start: Mutex<Option<Start>>,
}

impl<M: LearnerModel> SupervisedLearningStrategy<M> for Running<'_, M> {
    fn fit(
        &self,
        components: TrainingComponents<M>,
        learner: Learner<M>,
        dataloader_train: TrainLoader<M>,
        dataloader_valid: ValidLoader<M>,
        starting_epoch: usize,
    ) -> (M, SupervisedTrainingEventProcessor<M>) {
        let start = self
            .start
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let start = start.unwrap_or_else(|| Start::at_epoch(starting_epoch));
        let num_items = dataloader_train.num_items();
        TrainingLoop::new(self.settings, components, learner, start, num_items)
            .run(dataloader_train, dataloader_valid)
    }
}
