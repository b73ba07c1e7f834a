use burn::train::LearnerModel;

use super::{Callback, CallbackResult, TrainingRun};
use crate::quant::{
    QuantControls,
    schedule::{LayerwiseSchedule, ProgressiveSchedule},
};

/// Sets how far the quantisers of a model quantise, by a schedule over the optimizer steps.
pub struct ProgressiveQuantization {
    controls: QuantControls,
    schedule: Schedule,
    complete: bool,
}

enum Schedule {
    Whole(ProgressiveSchedule),
    Layerwise(LayerwiseSchedule),
}

impl ProgressiveQuantization {
    /// All quantisers by one schedule.
    pub fn new(controls: QuantControls, schedule: ProgressiveSchedule) -> Self {
        Self {
            controls,
            schedule: Schedule::Whole(schedule),
            complete: false,
        }
    }

    /// Each quantiser by the schedule of its layer; those that the schedule does not know stay as
    /// they are.
    pub fn layerwise(controls: QuantControls, schedule: LayerwiseSchedule) -> Self {
        Self {
            controls,
            schedule: Schedule::Layerwise(schedule),
            complete: false,
        }
    }

    fn set(&self, step: usize) {
        match &self.schedule {
            Schedule::Whole(schedule) => self.controls.set_lambda(schedule.value(step)),
            Schedule::Layerwise(schedule) => {
                let lambda = |path: &str| schedule.value_of(step, path);
                self.controls.set_lambdas(lambda);
            }
        }
    }
}

impl<M: LearnerModel> Callback<M> for ProgressiveQuantization {
    fn name(&self) -> &str {
        "progressive_quantization"
    }

    fn on_train_start(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        // A checkpoint has them as they were in its last step, for a validation that comes next.
        if run.position().step == 0 {
            self.set(0);
        }
        self.complete = self.controls.lambdas().all(|(_, lambda)| lambda == 1.0);
        Ok(())
    }

    fn before_forward(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        if self.complete {
            return Ok(());
        }
        self.set(run.position().step);
        if self.controls.lambdas().all(|(_, lambda)| lambda == 1.0) {
            self.complete = true;
            run.notify("progressive_quantization", "quantized in full from here on");
        }
        Ok(())
    }
}
