use std::sync::{Arc, Mutex, PoisonError};

use burn::{tensor::Tensor, train::LearnerModel};

use super::{Callback, CallbackResult, OptimizerStep, TrainingRun};
use crate::optim::{LossScaler, LossScalerConfig};

/// A [`LossScaler`] that the model and the [`LossScaling`] callback share.
///
/// The model multiplies its loss by [`scale`](Self::scale) before the backward pass of its
/// `TrainStep::step`; keep a clone in it as a field with `#[module(skip)]`.
#[derive(Debug, Clone)]
pub struct SharedLossScaler(Arc<Mutex<LossScaler>>);

impl SharedLossScaler {
    /// A scaler at its initial scale.
    pub fn new(config: &LossScalerConfig) -> Self {
        Self(Arc::new(Mutex::new(config.init())))
    }

    /// The loss times the present scale; see [`LossScaler::scale`].
    pub fn scale<const D: usize>(&self, loss: Tensor<D>) -> Tensor<D> {
        self.with(|scaler| scaler.scale(loss))
    }

    /// The present scale.
    pub fn get(&self) -> f32 {
        self.with(|scaler| scaler.to_record().scale)
    }

    fn with<T>(&self, f: impl FnOnce(&mut LossScaler) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Dynamic loss scaling: divides gradients by the scale, skips steps with an overflow, and moves the
/// scale.
///
/// Add it before callbacks that look at gradients, such as [`NanGuard`](super::NanGuard).
pub struct LossScaling {
    scaler: SharedLossScaler,
}

impl LossScaling {
    /// For the scaler that the model multiplies its loss with.
    pub fn new(scaler: &SharedLossScaler) -> Self {
        Self {
            scaler: scaler.clone(),
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
        let grads = std::mem::take(step.grads);
        let before = self.scaler.get();
        let finite = self.scaler.with(|scaler| {
            let (grads, finite) = scaler.unscale(&run.model(), grads);
            scaler.update(!finite);
            *step.grads = grads;
            finite
        });
        let scale = self.scaler.get();
        if !finite {
            let message = format!("a gradient is not finite at scale {before}");
            run.notify_values("loss_scaling", &message, [("scale", f64::from(scale))]);
            step.skip(message);
        } else if scale != before {
            run.notify_values(
                "loss_scaling",
                "the scale grows",
                [("scale", f64::from(scale))],
            );
        }
        Ok(())
    }

    fn state(&self) -> Option<serde_json::Value> {
        self.scaler
            .with(|scaler| serde_json::to_value(scaler.to_record()).ok())
    }

    fn load_state(&mut self, state: serde_json::Value) -> CallbackResult {
        let record = serde_json::from_value(state)?;
        let loaded = self
            .scaler
            .with(|scaler| scaler.clone().load_record(record))?;
        self.scaler.with(|scaler| *scaler = loaded);
        Ok(())
    }
}
