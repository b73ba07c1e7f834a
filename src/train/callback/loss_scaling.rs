use burn::{tensor::Tensor, train::LearnerModel};
use serde::{Deserialize, Serialize};

use super::{
    Callback, CallbackResult, NonFinite, OptimizerStep, TrainingRun, non_finite::SkippedSteps,
};
use crate::{
    base::shared::Shared,
    optim::{LossScaler, LossScalerConfig, LossScalerRecord},
};

/// [`LossScaler`] shared by the model and the [`LossScaling`] callback.
///
/// The model multiplies its loss by [`scale`](Self::scale) before the backward pass of its
/// `TrainStep::step`; keep a clone in it as a field with `#[module(skip)]`.
#[derive(Debug, Clone)]
pub struct SharedLossScaler(Shared<LossScaler>);

impl SharedLossScaler {
    /// Creates a scaler at its initial scale.
    pub fn new(config: &LossScalerConfig) -> Self {
        Self(Shared::new(config.init()))
    }

    /// Multiplies the loss by the current scale; see [`LossScaler::scale`].
    pub fn scale<const D: usize>(&self, loss: Tensor<D>) -> Tensor<D> {
        self.0.with(|scaler| scaler.scale(loss))
    }

    /// Returns the current scale.
    pub fn get(&self) -> f32 {
        self.0.with(|scaler| scaler.to_record().scale)
    }
}

/// Dynamic loss scaling: divides gradients by the scale, skips steps with an overflow, and updates
/// the scale.
///
/// A gradient that is not finite at the [minimum scale](LossScalerConfig::min_scale) ends the
/// training with a [`NonFinite`] error: a smaller scale would not help.
///
/// Add it before callbacks that read gradients, such as [`NanGuard`](super::NanGuard), which counts
/// the steps that are skipped here, too.
pub struct LossScaling {
    scaler: SharedLossScaler,
    skipped: SkippedSteps,
    /// Error that ends the training after this step.
    fatal: Option<NonFinite>,
}

/// State in a checkpoint.
#[derive(Serialize, Deserialize)]
struct LossScalingState {
    scaler: LossScalerRecord,
    skipped: SkippedSteps,
}

impl LossScaling {
    /// Creates the callback for the scaler that the model uses.
    pub fn new(scaler: &SharedLossScaler) -> Self {
        Self {
            scaler: scaler.clone(),
            skipped: SkippedSteps::default(),
            fatal: None,
        }
    }
}

impl<M: LearnerModel> Callback<M> for LossScaling {
    fn name(&self) -> &str {
        "loss_scaling"
    }

    fn before_optimizer_step(
        &mut self,
        run: &mut TrainingRun<M>,
        step: &mut OptimizerStep<'_>,
    ) -> CallbackResult {
        let (model, number) = (run.model(), run.position().step);
        let (grads, before) = (std::mem::take(step.grads), self.scaler.get());
        let (finite, is_at_min_scale) = self.scaler.0.with(|scaler| {
            let is_at_min_scale = scaler.is_at_min_scale();
            let (grads, finite) = scaler.unscale(&model, grads);
            scaler.update(!finite);
            *step.grads = grads;
            (finite, is_at_min_scale)
        });
        let scale = self.scaler.get();
        let values = [("scale", f64::from(scale))];
        if finite {
            self.skipped = SkippedSteps::default();
            if scale != before {
                run.notify_values("loss_scaling", "the scale grows", values);
            }
            return Ok(());
        }
        if is_at_min_scale {
            let found = NonFinite::find(&model, Some(&*step.grads), number, self.skipped);
            self.fatal = Some(NonFinite {
                min_scale: Some(scale),
                ..found
            });
        }
        self.skipped = self.skipped.and(number);
        let message = format!("a gradient is not finite at scale {before}");
        run.notify_values("loss_scaling", &message, values);
        step.skip(message);
        Ok(())
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let Some(mut found) = self.fatal.take() else {
            return Ok(());
        };
        found.loss = run.step_loss.last().ok();
        Err(found.into())
    }

    fn state(&self) -> Option<serde_json::Value> {
        let state = LossScalingState {
            scaler: self.scaler.0.with(|scaler| scaler.to_record()),
            skipped: self.skipped,
        };
        serde_json::to_value(state).ok()
    }

    fn load_state(&mut self, state: serde_json::Value) -> CallbackResult {
        let state: LossScalingState = serde_json::from_value(state)?;
        let loaded = self.scaler.0.get().load_record(state.scaler)?;
        self.scaler.0.with(|scaler| *scaler = loaded);
        self.skipped = state.skipped;
        Ok(())
    }
}
