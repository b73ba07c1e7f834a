use core::error::Error;

use burn::{
    optim::GradientsParams,
    train::{LearnerModel, TrainStep},
};

use super::{TrainingEvent, TrainingRun};

/// What a callback's method returns. An error ends the training and is its
/// [error](burn::train::LearningResult::error).
pub type CallbackResult = Result<(), Box<dyn Error + Send + Sync>>;

/// Output of a model's step of training.
pub type TrainOutputOf<M> = <M as TrainStep>::Output;

/// A forward and backward pass that has just been made.
pub struct BackwardPass<'a, M: LearnerModel> {
    /// What the model returned for metrics.
    pub output: &'a TrainOutputOf<M>,
    /// The gradients of this pass, which may be changed.
    pub grads: &'a mut GradientsParams,
}

/// A step that the optimizer is about to take.
pub struct OptimizerStep<'a> {
    /// The gradients, the weighted mean over all passes of the step, which may be changed.
    pub grads: &'a mut GradientsParams,
    pub(in crate::train) skip: Option<String>,
}

impl OptimizerStep<'_> {
    /// Leaves the model and the optimizer as they are in this step. It counts all the same, and the
    /// learning rate goes on. A [`NanGuard`](super::NanGuard) counts it among the bad steps in a row.
    pub fn skip(&mut self, reason: impl Into<String>) {
        self.skip = Some(reason.into());
    }

    /// Why the step will be skipped, if it will.
    pub fn skipped(&self) -> Option<&str> {
        self.skip.as_deref()
    }
}

/// Something that takes part in a training.
///
/// The methods of one place in the loop are called in the order in which the callbacks were added.
/// All of them do nothing unless overridden. What a callback must remember for a training to go on
/// as if it had not stopped is its [`state`](Self::state), which checkpoints hold.
pub trait Callback<M: LearnerModel>: Send {
    /// Its name in logs and checkpoints, different from those of the others.
    fn name(&self) -> &str;

    /// Before the first epoch; after a checkpoint was loaded, if one was.
    fn on_train_start(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(())
    }

    /// Before the first batch of an epoch, or of the rest of one.
    fn on_epoch_start(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(())
    }

    /// Before the forward pass on a batch.
    fn before_forward(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(())
    }

    /// After the backward pass on a batch.
    fn after_backward(
        &mut self,
        _run: &mut TrainingRun<M>,
        _pass: &mut BackwardPass<'_, M>,
    ) -> CallbackResult {
        Ok(())
    }

    /// Before the optimizer steps, which it does after as many batches as gradients are accumulated.
    fn before_optimizer_step(
        &mut self,
        _run: &mut TrainingRun<M>,
        _step: &mut OptimizerStep<'_>,
    ) -> CallbackResult {
        Ok(())
    }

    /// After a step of the optimizer, which [counts](TrainingRun::position) by now. The output is
    /// that of its last batch; [`step_loss`](TrainingRun::step_loss) is over all of them.
    fn after_optimizer_step(
        &mut self,
        _run: &mut TrainingRun<M>,
        _output: &TrainOutputOf<M>,
    ) -> CallbackResult {
        Ok(())
    }

    /// Before the validation at the end of an epoch.
    fn on_validation_start(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(())
    }

    /// After the validation; the [metrics](TrainingRun::metric) of the epoch are known.
    fn on_validation_end(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(())
    }

    /// After the validation and what callbacks made of it.
    fn on_epoch_end(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(())
    }

    /// Before a checkpoint is written; an error keeps it from being so.
    fn before_checkpoint(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(())
    }

    /// After a checkpoint was written.
    fn on_checkpoint(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(())
    }

    /// After the model, with the settings of its quantizers, and the optimizer were put back to the
    /// last checkpoint, with the [state](Self::state) that the callback had there. The position and
    /// the learning rate go on.
    ///
    /// A callback sets again what it had set in the model, and takes back what it learnt from steps
    /// that are given up.
    fn on_rollback(
        &mut self,
        _run: &mut TrainingRun<M>,
        _state: Option<serde_json::Value>,
    ) -> CallbackResult {
        Ok(())
    }

    /// After something happened that a log should have.
    fn on_event(&mut self, _event: &TrainingEvent) -> CallbackResult {
        Ok(())
    }

    /// After the last epoch, also of a training that was stopped.
    fn on_train_end(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(())
    }

    /// What to store in a checkpoint; `None` for nothing.
    fn state(&self) -> Option<serde_json::Value> {
        None
    }

    /// Takes what [`state`](Self::state) gave when the checkpoint was written.
    fn load_state(&mut self, _state: serde_json::Value) -> CallbackResult {
        Ok(())
    }
}

/// A callback that failed, as the source of the error of a training.
#[derive(Debug, thiserror::Error)]
#[error("callback `{callback}`: {source}")]
pub struct CallbackError {
    /// Its name.
    pub callback: String,
    /// What it returned.
    pub source: Box<dyn Error + Send + Sync>,
}
