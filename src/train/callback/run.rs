use std::{collections::BTreeMap, sync::Arc};

use burn::{
    store::ModuleRecord,
    tensor::TensorReadError,
    train::{
        Interrupter, Learner, LearnerModel,
        metric::store::{Aggregate, EventStoreClient, Split},
    },
};

use super::{ForeignControls, StepLoss, TrainingEvent};
use crate::{
    qat::{QuantControls, QuantizationError},
    train::checkpoint::{TrainingOver, TrainingPosition},
};

/// Running training, as available to callbacks.
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
    /// Number of steps of the whole training, if known.
    pub(in crate::train) num_steps: Option<usize>,
    pub(in crate::train) over: Option<TrainingOver>,
    /// Reason for which the last step was skipped, if any.
    pub(in crate::train) skipped: Option<String>,
    /// Quantization errors read in this step; their quantizers return them only once.
    pub(in crate::train) measured: Vec<QuantizationError>,
}

impl<M: LearnerModel> TrainingRun<M> {
    /// Returns the model; its parameters are shared, not copied.
    pub fn model(&self) -> M {
        self.learner.model()
    }

    /// Replaces the model's parameters. The optimizer keeps its state.
    ///
    /// # Panics
    ///
    /// If the record belongs to another model.
    #[track_caller]
    pub fn load_model(&mut self, record: ModuleRecord) {
        self.learner.load_model(record);
    }

    /// Rejects controls of another model. Call it at the [start](super::Callback::on_train_start)
    /// in a callback that sets or reads them.
    ///
    /// # Errors
    ///
    /// If there are none, or one of the quantizers is not in the trained model.
    pub fn check_controls(&self, controls: &QuantControls) -> Result<(), ForeignControls> {
        ForeignControls::check(controls, &self.learner.model())
    }

    /// Returns the measurements of quantizers in this step, also if another callback has read them
    /// before.
    pub(super) fn measured(
        &mut self,
        controls: &QuantControls,
    ) -> Result<Vec<QuantizationError>, TensorReadError> {
        self.measured.extend(controls.collect_errors()?);
        let find = |path: &str| self.measured.iter().find(|error| error.path == path);
        Ok(controls.paths().filter_map(find).cloned().collect())
    }

    /// Returns the current position of the training.
    pub fn position(&self) -> TrainingPosition {
        self.position
    }

    /// Returns the number of epochs of the whole training.
    pub fn num_epochs(&self) -> usize {
        self.num_epochs
    }

    /// Returns the number of optimizer steps of the whole training, known from its first batch on:
    /// the [requested](crate::train::CallbackStrategy::with_max_steps) steps, or those of all
    /// epochs if all batches are as large as the first. `None` if the data loader does not count
    /// its items.
    pub fn num_steps(&self) -> Option<usize> {
        self.num_steps
    }

    /// Returns `true` if the next pass is the first of its step.
    pub(in crate::train) fn is_first_pass(&self) -> bool {
        self.step_loss.batches() == 0
    }

    /// Returns the learning rate of the last step; 0 before the first.
    pub fn learning_rate(&self) -> f64 {
        self.learner.lr_current().base()
    }

    /// Returns the mean of a numeric metric over this epoch, known after its validation; `None` if
    /// there is no such metric.
    pub fn metric(&self, name: &str, split: Split) -> Option<f64> {
        let epoch = self.position.epoch;
        let store = &self.event_store;
        store.find_metric(name, epoch, Aggregate::Mean, &split)
    }

    /// Returns the loss of the step: the mean over its batches so far, weighted like their
    /// gradients; NaN before the first. The first call of a step waits for the device.
    ///
    /// # Errors
    ///
    /// If a value cannot be read back from the device.
    pub fn step_loss(&mut self) -> Result<f64, TensorReadError> {
        self.step_loss.mean()
    }

    /// Sends an event to all callbacks, and thereby to the logs.
    pub fn notify(&mut self, source: &str, message: impl Into<String>) {
        self.notify_values(source, message, []);
    }

    /// Sends an event with numeric values; see [`notify`](Self::notify).
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

    /// Ends the training after this step, without failure. (An error of a callback ends it as a
    /// failure.) The training continues when it is resumed.
    pub fn stop(&mut self, source: &str, reason: &str) {
        self.notify(source, format!("the training stops: {reason}"));
        self.interrupter.stop(Some(reason));
    }

    /// [Stops](Self::stop) a training that is complete: when resumed it takes no further step,
    /// unless more epochs are requested.
    pub fn finish(&mut self, source: &str, reason: &str) {
        self.over = Some(TrainingOver {
            source: source.to_string(),
            reason: reason.to_string(),
            num_epochs: self.num_epochs,
        });
        self.stop(source, reason);
    }

    /// Returns the reason for which the training was [over](Self::finish) when its checkpoint was
    /// written, if it was. Available from the [start](super::Callback::on_train_start).
    pub fn over(&self) -> Option<&TrainingOver> {
        self.over.as_ref()
    }

    /// Continues a training that was [over](Self::over).
    pub fn reopen(&mut self) {
        self.over = None;
    }

    /// Returns the reason for which a callback [skipped](super::OptimizerStep::skip) the last step,
    /// if any.
    pub fn skipped(&self) -> Option<&str> {
        self.skipped.as_deref()
    }

    /// Returns `true` if an error ends the training.
    pub fn has_failed(&self) -> bool {
        self.interrupter.error().is_some()
    }

    /// Returns `true` if the training ends after this step.
    pub fn is_stopping(&self) -> bool {
        self.interrupter.should_stop()
    }

    /// Requests a checkpoint after this step.
    pub fn request_checkpoint(&mut self) {
        self.checkpoint_requested = true;
    }

    /// Restores the model and the optimizer from the last complete checkpoint after this step. The
    /// position, the learning rate and the data continue, so that the same batches are not
    /// repeated. Callbacks are notified by [`on_rollback`](super::Callback::on_rollback).
    pub fn request_rollback(&mut self, source: &str, reason: impl Into<String>) {
        self.rollback = Some((source.to_string(), reason.into()));
    }
}
