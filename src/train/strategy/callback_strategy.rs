use std::sync::{Arc, Mutex, PoisonError};

use burn::{
    tensor::Device,
    train::{
        Learner, LearnerModel, LearningResult, SupervisedLearningStrategy,
        SupervisedTrainingEventProcessor, TrainLoader, TrainStep, TrainingComponents,
        TrainingStrategy, ValidLoader, metric::Adaptor,
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

/// Burn's loop of training on one device, which calls [`Callback`]s and writes checkpoints at any
/// step.
///
/// Without callbacks, random operations and gradient accumulation it does what Burn's own strategy for
/// one device does, step for step. Give it to
/// [`with_training_strategy`](burn::train::SupervisedTraining::with_training_strategy); metrics,
/// loggers, renderers, early stopping and gradient accumulation work as with Burn's own.
///
/// # Gradient accumulation
///
/// The gradient of a step is the mean over its batches, weighted by
/// [items](Self::with_batch_weight) or by [tokens](Self::with_token_weights), where Burn's own
/// strategy adds the gradients up: two batches of one sequence make the step of one batch of two,
/// within rounding, for every optimizer and with gradient clipping.
///
/// # Resuming
///
/// With [`checkpoints`](Self::with_checkpoints) a training that was broken off goes on after the last
/// checkpoint as if nothing had happened: the model with its quantization controls, optimizer,
/// learning rate and callbacks are loaded, the batches that were trained on are passed over, and
/// random operations take up the numbers of their step. The data loader must give the same batches
/// again: Burn's with a fixed [seed](burn::data::dataloader::DataLoaderBuilder::shuffle) does without
/// worker threads or with one; with several, their order differs from run to run, and
/// [`OrderedDataLoader`](crate::train::OrderedDataLoader) is the one to use. On Flex and NdArray the
/// steps that follow are then equal, bit for bit; GPUs may add up floats in another order from run to
/// run.
///
/// Burn's own checkpointers write what Burn's do: they hold neither the step nor the state of
/// callbacks. A training with callbacks or [`max_steps`](Self::with_max_steps) is not resumed from them
/// ([`SupervisedTraining::checkpoint`](burn::train::SupervisedTraining::checkpoint)): that is an error.
///
/// What happens at each edge, such as a stop within accumulated batches or a rollback after a resume,
/// stands in the [guide](https://github.com/bitnet-burn/bitnet-burn/blob/main/docs/training.md).
///
/// # Random operations
///
/// The device is seeded before each batch by the [seed](Self::with_seed) and the number of the
/// batch.
///
/// # Errors
///
/// An error of a callback or of a checkpoint ends the training and is inside of the
/// [`error`](LearningResult::error) of its result, which says "Dataset error" or "I/O Error" before
/// it: [`TrainingFailure`](crate::train::TrainingFailure) gives it back as what it was.
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

impl<M: LearnerModel> Default for CallbackStrategy<M> {
    /// Training on Burn's default device.
    fn default() -> Self {
        Self::new(Device::default())
    }
}

impl<M: LearnerModel> CallbackStrategy<M> {
    /// Training on a device, without callbacks and checkpoints.
    pub fn new(device: Device) -> Self {
        Self(LoopSettings {
            placement: Box::new(SingleDevice::new(device)),
            seed: 0,
            checkpoints: None,
            max_steps: None,
            batch_weight: None,
            callbacks: Mutex::default(),
            seek: None,
        })
    }

    /// The same with a callback, which is called after those before it.
    ///
    /// # Panics
    ///
    /// If another callback has its name.
    #[track_caller]
    pub fn with_callback(self, callback: impl Callback<M> + 'static) -> Self {
        self.0.callbacks().push(Box::new(callback));
        self
    }

    /// The same with checkpoints.
    pub fn with_checkpoints(mut self, policy: CheckpointPolicy) -> Self {
        self.0.checkpoints = Some(policy);
        self
    }

    /// The same for a data loader of training that can [seek](crate::train::SeekableDataLoader): a
    /// training that resumes goes to its batch at once.
    pub fn with_seekable<L>(mut self, train: &Arc<L>) -> Self
    where
        L: SeekableDataLoader<<M as TrainStep>::Input> + ?Sized + 'static,
    {
        let train = train.clone();
        self.0.seek = Some(Box::new(move |epoch, batch| train.seek(epoch, batch)));
        self
    }

    /// The same with the place of the data in the hands of `seek`.
    pub(in crate::train) fn with_seek(mut self, seek: Option<Seek>) -> Self {
        self.0.seek = seek;
        self
    }

    /// The same with another seed of random operations than 0.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }

    /// The same with an end after so many optimizer steps, whatever the number of batches in an epoch.
    /// The last epoch is then shorter, and has its validation.
    ///
    /// # Panics
    ///
    /// If it is 0.
    #[track_caller]
    pub fn with_max_steps(mut self, max_steps: usize) -> Self {
        Bounds::COUNT.assert("max_steps", max_steps);
        self.0.max_steps = Some(max_steps);
        self
    }

    /// The same with weights for the batches of a step with gradient accumulation, which is the mean
    /// `sum_b(w_b * g_b) / sum_b(w_b)` of their gradients `g_b`. Give the number of what the loss of
    /// the batch is the mean of. By default it is the number of items that the data loader counts.
    ///
    /// A weight of 0 leaves a batch out; one that is negative or not finite counts as 0.
    pub fn with_batch_weight(
        mut self,
        weight: impl Fn(&TrainOutputOf<M>) -> f64 + Send + Sync + 'static,
    ) -> Self {
        self.0.batch_weight = Some(Box::new(weight));
        self
    }

    /// The same with the number of tokens that count as the [weight](Self::with_batch_weight) of a
    /// batch: accumulated batches of any size, with any masks, then make the step of one large batch.
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
        // Burn says to its loggers that the epoch after this one is the first.
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
        let start = Start::at_epoch(starting_epoch);
        let num_items = dataloader_train.num_items();
        TrainingLoop::new(&self.0, components, learner, start, num_items)
            .run(dataloader_train, dataloader_valid)
    }
}

/// A strategy that knows where to begin.
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
