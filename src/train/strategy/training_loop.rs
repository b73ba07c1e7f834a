use std::sync::MutexGuard;

use burn::{
    data::dataset::DatasetError,
    train::{
        CloneEarlyStoppingStrategy, EventProcessorTraining, Learner, LearnerEvent, LearnerModel,
        LearningCheckpointer, SupervisedTrainingEventProcessor, TrainLoader, TrainingComponents,
        ValidLoader,
    },
};

use super::{
    NoData,
    checkpoints::Checkpoints,
    loop_settings::LoopSettings,
    resume::{Start, training_error},
};
use crate::train::{
    callback::{Callback, CallbackList, CallbackResult, StepLoss, TrainOutputOf, TrainingRun},
    checkpoint::{CheckpointError, TrainingOver, TrainingPosition, TrainingSettings},
};

/// Training loop from the first batch to the last.
pub(super) struct TrainingLoop<'a, M: LearnerModel> {
    pub settings: &'a LoopSettings<M>,
    pub run: TrainingRun<M>,
    pub processor: SupervisedTrainingEventProcessor<M>,
    pub checkpoints: Option<Checkpoints<M>>,
    pub grad_accumulation: usize,
    callbacks: MutexGuard<'a, CallbackList<M>>,
    /// Burn's own checkpointer, called once per epoch.
    checkpointer: Option<LearningCheckpointer<M>>,
    early_stopping: Option<Box<dyn CloneEarlyStoppingStrategy>>,
    /// Number of batches of the first epoch that were trained on before.
    pub skip_batches: usize,
    /// `true` if all data of the epoch were used.
    pub epoch_is_complete: bool,
}

/// Source of the end of a training that took all steps.
const MAX_STEPS: &str = "max_steps";
/// Source of the end of a training that no callback ended.
const TRAINING: &str = "training";

impl<'a, M: LearnerModel> TrainingLoop<'a, M> {
    pub fn new(
        settings: &'a LoopSettings<M>,
        components: TrainingComponents<M>,
        learner: Learner<M>,
        start: Start,
        num_items: usize,
    ) -> Self {
        let grad_accumulation = components.grad_accumulation.unwrap_or(1);
        let made_with = TrainingSettings::of(&learner.model(), grad_accumulation, num_items);
        let changes = start.changes(&made_with);
        let failed = components.interrupter.error().is_some();
        let policy = settings.checkpoints.clone().filter(|_| !failed);
        let model = learner.model();
        let checkpoints = policy.map(|policy| Checkpoints::new(policy, made_with, &model, &start));
        let checkpoints = checkpoints.transpose().unwrap_or_else(|error| {
            components.interrupter.fail(training_error(error));
            None
        });
        let mut run = TrainingRun {
            learner,
            position: start.position,
            num_epochs: components.num_epochs,
            interrupter: components.interrupter,
            event_store: components.event_store,
            events: Vec::new(),
            checkpoint_requested: false,
            rollback: None,
            step_loss: StepLoss::default(),
            num_steps: settings.max_steps,
            over: start.over,
            skipped: None,
            measured: Vec::new(),
        };
        for message in start.messages.into_iter().chain(changes) {
            run.notify("checkpoint", message);
        }
        Self {
            settings,
            run,
            processor: components.event_processor,
            checkpoints,
            grad_accumulation,
            callbacks: settings.callbacks(),
            checkpointer: components.checkpointer,
            early_stopping: components.early_stopping,
            skip_batches: start.position.batches,
            epoch_is_complete: false,
        }
    }

    /// Runs the training and returns the model.
    pub fn run(
        mut self,
        train: TrainLoader<M>,
        valid: ValidLoader<M>,
    ) -> (M, SupervisedTrainingEventProcessor<M>) {
        // If no start was found, no callbacks are called.
        if self.run.interrupter.error().is_some() {
            return (self.run.learner.model(), self.processor);
        }
        let device = self.settings.placement.device();
        let train = train.to_device(device);
        let valid = valid.to_device(&device.clone().inner());
        if let Err(none) = self.check_data(&train, &valid) {
            self.fail_data(none);
            return (self.run.learner.model(), self.processor);
        }
        self.go_to_position(&train, &valid);
        self.call(|callback, run| callback.on_train_start(run));
        self.end_if_over();
        while self.run.position.epoch <= self.run.num_epochs
            && !self.run.is_stopping()
            && self.run.over.is_none()
        {
            self.epoch(&train, &valid);
        }
        self.save_the_end();
        self.call(|callback, run| callback.on_train_end(run));
        (self.run.learner.model(), self.processor)
    }

    /// Seeks the data to the start of the training.
    fn go_to_position(&mut self, train: &TrainLoader<M>, valid: &ValidLoader<M>) {
        let epoch = self.run.position.epoch;
        // A loader that shuffles draws a new order for each epoch.
        (1..epoch).for_each(|_| drop(valid.iter()));
        match &self.settings.seek {
            Some(_) => self.skip_batches = 0,
            None => (1..epoch).for_each(|_| drop(train.iter())),
        }
    }

    /// Rejects a training without data, as far as can be detected.
    fn check_data(&self, train: &TrainLoader<M>, valid: &ValidLoader<M>) -> Result<(), NoData> {
        if self.run.num_epochs == 0 {
            return Err(NoData::Epochs);
        }
        match (NoData::is_empty(&**train), NoData::is_empty(&**valid)) {
            (true, _) => Err(NoData::Training),
            (_, true) => Err(NoData::Validation),
            _ => Ok(()),
        }
    }

    /// Ends the training because of missing data.
    pub fn fail_data(&self, none: NoData) {
        self.run.interrupter.fail(DatasetError::new(none));
    }

    /// Ends a training that was over when its checkpoint was written, unless more steps are
    /// requested.
    fn end_if_over(&mut self) {
        let Some(over) = self.run.over.take() else {
            return;
        };
        let by_steps = over.source == MAX_STEPS;
        let lasts = match by_steps {
            true => self.has_all_steps(),
            false => self.run.num_epochs <= over.num_epochs,
        };
        if lasts && !by_steps {
            // The log has the event already.
            self.run.interrupter.stop(Some(&over.reason));
        }
        self.run.over = Some(over).filter(|_| lasts);
    }

    /// Saves the last step of a training, independent of the policy.
    fn save_the_end(&mut self) {
        let position = self.run.position;
        let over = &self.run.over;
        let saved = |checkpoints: &Checkpoints<M>| checkpoints.has(position, over);
        if self.checkpoints.as_ref().is_none_or(saved) {
            return;
        }
        if position.step > 0 && !self.run.has_failed() {
            self.checkpoint(Checkpoints::save);
        }
    }

    /// Returns `true` if all requested steps are taken.
    pub fn has_all_steps(&self) -> bool {
        let step = self.run.position.step;
        self.settings.max_steps.is_some_and(|max| step >= max)
    }

    fn epoch(&mut self, train: &TrainLoader<M>, valid: &ValidLoader<M>) {
        let epoch = self.run.position.epoch;
        self.call(|callback, run| callback.on_epoch_start(run));
        self.train_epoch(train);
        // A stop during a validation gives no metrics: it is repeated on resume.
        if self.run.is_stopping() || !self.validate(valid) {
            return;
        }
        self.process_train(LearnerEvent::EndEpoch(epoch));
        let flushed = self.processor.flush();
        self.run.interrupter.fail_on_error(flushed);
        self.call(|callback, run| callback.on_validation_end(run));
        self.call(|callback, run| callback.on_epoch_end(run));
        if self.run.has_failed() {
            return;
        }
        self.stop_at_the_end(epoch);
        let next = self.next_position();
        self.save_epoch(epoch, next);
        self.run.position = next;
    }

    /// Returns the position after a validation: before the next epoch, or before the remaining
    /// batches of this one for a request of more steps.
    fn next_position(&self) -> TrainingPosition {
        let position = self.run.position;
        match self.epoch_is_complete {
            true => TrainingPosition {
                epoch: position.epoch + 1,
                batches: 0,
                ..position
            },
            false => position,
        }
    }

    /// Ends the training after the validation of an epoch, if all steps are taken or Burn's early
    /// stopping requests it.
    fn stop_at_the_end(&mut self, epoch: usize) {
        if self.has_all_steps() && self.run.over.is_none() {
            self.run.over = Some(TrainingOver {
                source: MAX_STEPS.to_string(),
                reason: "all steps are taken".to_string(),
                num_epochs: self.run.num_epochs,
            });
        }
        let store = &self.run.event_store;
        if let Some(early_stopping) = &mut self.early_stopping
            && early_stopping.should_stop(epoch, store)
            && !self.run.is_stopping()
        {
            self.run.finish(TRAINING, "no metric improves any more");
        }
        self.deliver();
    }

    /// Writes the checkpoint after the validation of an epoch.
    fn save_epoch(&mut self, epoch: usize, next: TrainingPosition) {
        let every_epoch = self
            .checkpoints
            .as_ref()
            .is_some_and(Checkpoints::every_epoch);
        if every_epoch {
            self.checkpoint(|checkpoints, run, callbacks| {
                checkpoints.save_epoch(run, callbacks, next)
            });
        }
        if let Some(checkpointer) = &mut self.checkpointer {
            checkpointer.checkpoint(&self.run.learner, epoch, &self.run.event_store);
        }
    }

    /// Writes a checkpoint and logs it; an error ends the training.
    pub fn checkpoint(
        &mut self,
        save: impl FnOnce(
            &mut Checkpoints<M>,
            &mut TrainingRun<M>,
            &CallbackList<M>,
        ) -> Result<(), CheckpointError>,
    ) {
        self.run.checkpoint_requested = false;
        self.call(|callback, run| callback.before_checkpoint(run));
        let failed = self.run.interrupter.error().is_some();
        let Some(checkpoints) = self.checkpoints.as_mut().filter(|_| !failed) else {
            return;
        };
        match save(checkpoints, &mut self.run, &self.callbacks) {
            Ok(()) => self.call(|callback, run| callback.on_checkpoint(run)),
            Err(error) => self.fail_checkpoint(error),
        }
    }

    /// Ends the training because a checkpoint cannot be written or read.
    pub fn fail_checkpoint(&mut self, error: CheckpointError) {
        self.run.notify("checkpoint", error.to_string());
        self.deliver();
        self.run.interrupter.fail(training_error(error));
    }

    /// Calls the callbacks in order until one fails, and delivers their events.
    pub fn call(
        &mut self,
        f: impl FnMut(&mut dyn Callback<M>, &mut TrainingRun<M>) -> CallbackResult,
    ) {
        self.callbacks.call(&mut self.run, f);
    }

    /// Delivers events to all callbacks.
    pub fn deliver(&mut self) {
        self.callbacks.deliver(&mut self.run);
    }

    pub fn process_train(&mut self, event: LearnerEvent<TrainOutputOf<M>>) {
        let processed = self.processor.process_train(event);
        self.run.interrupter.fail_on_error(processed);
    }
}
