use std::{collections::BTreeMap, sync::Arc};

use burn::{
    store::ModuleRecord,
    tensor::TensorReadError,
    train::{
        Interrupter, Learner, LearnerModel,
        metric::{
            Adaptor, LossInput,
            store::{Aggregate, EventStoreClient, Split},
        },
    },
};

use super::{ForeignControls, StepLoss, TrainingEvent};
use crate::{
    qat::{QuantControls, QuantizationError},
    train::checkpoint::{TrainingOver, TrainingPosition},
};

/// A training under way, as callbacks see it.
pub struct TrainingRun<M: LearnerModel> {
    pub(in crate::train) learner: Learner<M>,
    pub(in crate::train) position: TrainingPosition,
    pub(in crate::train) num_epochs: usize,
    pub(in crate::train) interrupter: Interrupter,
    pub(in crate::train) event_store: Arc<EventStoreClient>,
    pub(in crate::train) events: Vec<TrainingEvent>,
    pub(in crate::train) checkpoint_requested: bool,
    pub(in crate::train) rollback: Option<(String, String)>,
    pub(in crate::train) step_loss: StepLoss,
    /// Steps of the whole training, as far as they are known.
    pub(in crate::train) num_steps: Option<usize>,
    pub(in crate::train) over: Option<TrainingOver>,
    /// Why the last step was skipped, if it was.
    pub(in crate::train) skipped: Option<String>,
    /// Errors of quantization that were read in this step, which their quantizers give once.
    pub(in crate::train) measured: Vec<QuantizationError>,
}

impl<M: LearnerModel> TrainingRun<M> {
    /// The model, whose parameters are shared, not copied.
    pub fn model(&self) -> M {
        self.learner.model()
    }

    /// Puts other parameters into the model. The optimizer keeps its state.
    ///
    /// # Panics
    ///
    /// If the record is one of another model.
    #[track_caller]
    pub fn load_model(&mut self, record: ModuleRecord) {
        self.learner.load_model(record);
    }

    /// Refuses controls of another model, for the [start](super::Callback::on_train_start) of a
    /// callback that sets or reads them.
    ///
    /// # Errors
    ///
    /// If there are none, or one of the quantizers is not in the model that trains.
    pub fn check_controls(&self, controls: &QuantControls) -> Result<(), ForeignControls> {
        ForeignControls::check(controls, &self.learner.model())
    }

    /// What quantizers measured in this step, also if another callback has read it before.
    pub(super) fn measured(
        &mut self,
        controls: &QuantControls,
    ) -> Result<Vec<QuantizationError>, TensorReadError> {
        self.measured.extend(controls.collect_errors()?);
        let find = |path: &str| self.measured.iter().find(|error| error.path == path);
        Ok(controls.paths().filter_map(find).cloned().collect())
    }

    /// Where the training stands.
    pub fn position(&self) -> TrainingPosition {
        self.position
    }

    /// Number of epochs of the whole training.
    pub fn num_epochs(&self) -> usize {
        self.num_epochs
    }

    /// Number of optimizer steps of the whole training, known from its first batch on: the steps that
    /// [were asked for](crate::train::CallbackStrategy::with_max_steps), or those of all epochs with
    /// batches as large as the first. `None` if the data loader does not count its items.
    pub fn num_steps(&self) -> Option<usize> {
        self.num_steps
    }

    /// Whether the next pass is the first of its step.
    pub(in crate::train) fn is_first_pass(&self) -> bool {
        self.step_loss.batches() == 0
    }

    /// The learning rate of the last step; 0 before the first.
    pub fn learning_rate(&self) -> f64 {
        self.learner.lr_current().base()
    }

    /// The mean of a numeric metric over this epoch, known after its validation; `None` if there is
    /// no such metric.
    pub fn metric(&self, name: &str, split: Split) -> Option<f64> {
        let epoch = self.position.epoch;
        let store = &self.event_store;
        store.find_metric(name, epoch, Aggregate::Mean, &split)
    }

    /// Reads the loss of the batch that was passed backward from its device, if no callback has yet.
    ///
    /// For [`after_backward`](super::Callback::after_backward): with gradient accumulation, the loss of
    /// a step is known only where that of each of its batches is.
    ///
    /// # Errors
    ///
    /// If the device does not give it.
    pub fn record_loss<O: Adaptor<LossInput>>(
        &mut self,
        output: &O,
    ) -> Result<(), TensorReadError> {
        self.step_loss.record(output)
    }

    /// The loss of the step that was made, whose last batch had this output: the mean over its
    /// batches, weighted as their gradients are. Where [`record_loss`](Self::record_loss) was not
    /// called for each of them, the loss of the last one.
    ///
    /// # Errors
    ///
    /// If the device does not give it.
    pub fn step_loss<O: Adaptor<LossInput>>(&mut self, last: &O) -> Result<f64, TensorReadError> {
        self.step_loss.record(last)?;
        let mean = self.step_loss.mean();
        Ok(mean.unwrap_or(self.step_loss.last()))
    }

    /// Tells all callbacks, and so the logs, that something happened.
    pub fn notify(&mut self, source: &str, message: impl Into<String>) {
        self.notify_values(source, message, []);
    }

    /// [`notify`](Self::notify) with numbers.
    pub fn notify_values<'a>(
        &mut self,
        source: &str,
        message: impl Into<String>,
        values: impl IntoIterator<Item = (&'a str, f64)>,
    ) {
        let values = values.into_iter().map(|(name, v)| (name.to_string(), v));
        self.events.push(TrainingEvent {
            step: self.position.step,
            epoch: self.position.epoch,
            source: source.to_string(),
            message: message.into(),
            values: BTreeMap::from_iter(values),
        });
    }

    /// Ends the training after this step, as something that was wanted. (An error of a callback ends
    /// it as a failure.) A training that is resumed goes on.
    pub fn stop(&mut self, source: &str, reason: &str) {
        self.notify(source, format!("the training stops: {reason}"));
        self.interrupter.stop(Some(reason));
    }

    /// [Stops](Self::stop) a training that has reached its aim: when it is resumed it makes no further
    /// step, unless more epochs are asked for.
    pub fn finish(&mut self, source: &str, reason: &str) {
        self.over = Some(TrainingOver {
            source: source.to_string(),
            reason: reason.to_string(),
            num_epochs: self.num_epochs,
        });
        self.stop(source, reason);
    }

    /// Why the training was [over](Self::finish) when its checkpoint was written, if it was. It is
    /// known at the [start](super::Callback::on_train_start).
    pub fn over(&self) -> Option<&TrainingOver> {
        self.over.as_ref()
    }

    /// Lets a training go on that was [over](Self::over).
    pub fn reopen(&mut self) {
        self.over = None;
    }

    /// Why the optimizer did not take the last step, if a callback [skipped](super::OptimizerStep::skip)
    /// it.
    pub fn skipped(&self) -> Option<&str> {
        self.skipped.as_deref()
    }

    /// Whether an error ends the training.
    pub fn has_failed(&self) -> bool {
        self.interrupter.error().is_some()
    }

    /// Whether the training will end after this step.
    pub fn is_stopping(&self) -> bool {
        self.interrupter.should_stop()
    }

    /// Writes a checkpoint after this step.
    pub fn request_checkpoint(&mut self) {
        self.checkpoint_requested = true;
    }

    /// Puts the model and the optimizer back to what they were at the last whole checkpoint, after
    /// this step. The position, the learning rate and the data go on, so that what led astray does
    /// not come again. Callbacks learn of it by [`on_rollback`](super::Callback::on_rollback).
    pub fn request_rollback(&mut self, source: &str, reason: impl Into<String>) {
        self.rollback = Some((source.to_string(), reason.into()));
    }
}
