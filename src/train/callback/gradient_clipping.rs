use burn::train::LearnerModel;

use super::{Callback, CallbackResult, OptimizerStep, TrainingRun};
use crate::{base::bounds::Bounds, optim::clip_grad_norm};

/// Clips the norm of the gradients over all parameters, as [`clip_grad_norm`] does.
///
/// Add it after callbacks that read gradients. A model does not need to clip in its
/// `TrainStep::optimize`.
pub struct GradientClipping {
    max_norm: f64,
}

impl GradientClipping {
    /// Creates a callback that clips to a norm of at most `max_norm`.
    ///
    /// # Panics
    ///
    /// If `max_norm` is not positive.
    #[track_caller]
    pub fn new(max_norm: f64) -> Self {
        Bounds::POSITIVE.assert("max_norm", max_norm);
        Self { max_norm }
    }
}

impl<M: LearnerModel> Callback<M> for GradientClipping {
    fn name(&self) -> &str {
        "gradient_clipping"
    }

    fn before_optimizer_step(
        &mut self,
        run: &mut TrainingRun<M>,
        step: &mut OptimizerStep<'_>,
    ) -> CallbackResult {
        let grads = std::mem::take(step.grads);
        *step.grads = clip_grad_norm(&run.model(), grads, self.max_norm).0;
        Ok(())
    }
}
