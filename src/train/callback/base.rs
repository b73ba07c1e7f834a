use core::error::Error;
use std::collections::BTreeMap;

use burn::{
    optim::GradientsParams,
    tensor::TensorData,
    train::{LearnerModel, TrainStep},
};
use serde_json::Value;

use super::{TrainingEvent, TrainingRun};

/// Result of a callback's method. An error ends the training and becomes its
/// [error](burn::train::LearningResult::error).
pub type CallbackResult = Result<(), Box<dyn Error + Send + Sync>>;

/// Output of a model's training step.
pub type TrainOutputOf<M> = <M as TrainStep>::Output;

/// Tensors of the state of a callback, by name.
pub type StateTensors = BTreeMap<String, TensorData>;

/// Completed forward and backward pass of a batch.
pub struct BackwardPass<'a, M: LearnerModel> {
    /// Output of the model for metrics.
    pub output: &'a TrainOutputOf<M>,
    /// Gradients of this pass, which a callback may change.
    pub grads: &'a mut GradientsParams,
}

/// Pending step of the optimizer.
pub struct OptimizerStep<'a> {
    /// Gradients, the weighted mean over all passes of the step, which a callback may change.
    pub grads: &'a mut GradientsParams,
    pub(in crate::train) skip: Option<String>,
}

impl OptimizerStep<'_> {
    /// Skips this step: model and optimizer stay unchanged. The step still counts and the learning
    /// rate schedule advances. A [`NanGuard`](super::NanGuard) counts it among the consecutive bad
    /// steps.
    pub fn skip(&mut self, reason: impl Into<String>) {
        self.skip = Some(reason.into());
    }

    /// Returns the reason for which the step will be skipped, if any.
    pub fn skipped(&self) -> Option<&str> {
        self.skip.as_deref()
    }
}

/// Hooks called during training.
///
/// Hooks are called in the order in which the callbacks were added. By default they do nothing.
/// Checkpoints store a callback's [`state`](Self::state), so that an interrupted run resumes with
/// identical results.
pub trait Callback<M: LearnerModel>: Send {
    /// Returns the unique name of the callback in logs and checkpoints.
    fn name(&self) -> &str;

    /// Called before the first epoch, after a checkpoint was loaded.
    fn on_train_start(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(())
    }

    /// Called before the first batch of an epoch, or of the rest of one.
    fn on_epoch_start(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(())
    }

    /// Called before the forward pass of a batch.
    fn before_forward(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(())
    }

    /// Called after the backward pass of a batch.
    fn after_backward(
        &mut self,
        _run: &mut TrainingRun<M>,
        _pass: &mut BackwardPass<'_, M>,
    ) -> CallbackResult {
        Ok(())
    }

    /// Called before each optimizer step, that is once per gradient accumulation.
    fn before_optimizer_step(
        &mut self,
        _run: &mut TrainingRun<M>,
        _step: &mut OptimizerStep<'_>,
    ) -> CallbackResult {
        Ok(())
    }

    /// Called after an optimizer step, which is already [counted](TrainingRun::position) and whose
    /// [loss](TrainingRun::step_loss) is known.
    fn after_optimizer_step(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(())
    }

    /// Called before the validation at the end of an epoch.
    fn on_validation_start(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(())
    }

    /// Called after the validation, when the [metrics](TrainingRun::metric) of the epoch are known.
    fn on_validation_end(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(())
    }

    /// Called at the end of an epoch, after `on_validation_end` of all callbacks.
    fn on_epoch_end(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(())
    }

    /// Called before a checkpoint is written. An error prevents the checkpoint.
    fn before_checkpoint(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(())
    }

    /// Called after a checkpoint was written.
    fn on_checkpoint(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(())
    }

    /// Called after a rollback: the model, the settings of its quantizers and the optimizer are
    /// restored from the last checkpoint. `state` is the [state](Self::state) of the callback in
    /// it. The position and the learning rate continue.
    ///
    /// A callback restores its settings in the model and discards what it recorded from the steps
    /// that are undone.
    fn on_rollback(&mut self, _run: &mut TrainingRun<M>, _state: Option<Value>) -> CallbackResult {
        Ok(())
    }

    /// Called for an event that belongs in a log.
    fn on_event(&mut self, _event: &TrainingEvent) -> CallbackResult {
        Ok(())
    }

    /// Called after the last epoch, also if the training was stopped.
    fn on_train_end(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(())
    }

    /// Returns the state to save in a checkpoint; `None` for none.
    fn state(&self) -> Option<Value> {
        None
    }

    /// Restores a [`state`](Self::state) from a checkpoint.
    fn load_state(&mut self, _state: Value) -> CallbackResult {
        Ok(())
    }

    /// Returns tensors to save in a checkpoint beside the [`state`](Self::state), in a file of their own and bit for
    /// bit; by default none.
    ///
    /// # Errors
    ///
    /// If a value cannot be read back from the device. The checkpoint is not written.
    fn tensors(&self) -> Result<BTreeMap<String, TensorData>, Box<dyn Error + Send + Sync>> {
        Ok(BTreeMap::new())
    }

    /// Restores [`tensors`](Self::tensors) from a checkpoint: when a training resumes, before
    /// [`load_state`](Self::load_state), if there are any, and before [`on_rollback`](Self::on_rollback) in any case.
    fn load_tensors(&mut self, _tensors: BTreeMap<String, TensorData>) -> CallbackResult {
        Ok(())
    }
}

/// Failure of a callback, as the source of the error of a training.
#[derive(Debug, thiserror::Error)]
#[error("callback `{callback}`: {source}")]
pub struct CallbackError {
    /// Name of the callback.
    pub callback: String,
    /// Error that it returned.
    pub source: Box<dyn Error + Send + Sync>,
}
