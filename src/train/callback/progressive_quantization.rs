use burn::train::LearnerModel;

use super::{Callback, CallbackResult, TrainingRun};
use crate::{
    qat::QuantControls,
    quant::schedule::{LayerwiseSchedule, ProgressiveSchedule},
};

/// Sets the strength of quantization of a model's quantizers by a schedule over the optimizer
/// steps.
///
/// The value depends on the step alone, also after a rollback. A validation uses the value of the
/// last step.
pub struct ProgressiveQuantization {
    name: String,
    controls: QuantControls,
    schedule: Schedule,
}

enum Schedule {
    Whole(ProgressiveSchedule),
    Layerwise(LayerwiseSchedule),
}

impl ProgressiveQuantization {
    /// Applies one schedule to all quantizers.
    pub fn new(controls: QuantControls, schedule: ProgressiveSchedule) -> Self {
        Self {
            name: "progressive_quantization".to_string(),
            controls,
            schedule: Schedule::Whole(schedule),
        }
    }

    /// Applies the schedule of its layer to each quantizer. Quantizers without a schedule stay
    /// unchanged.
    pub fn layerwise(controls: QuantControls, schedule: LayerwiseSchedule) -> Self {
        Self {
            name: "progressive_quantization".to_string(),
            controls,
            schedule: Schedule::Layerwise(schedule),
        }
    }

    /// Sets a name other than `progressive_quantization`, so that several can be used side by side.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
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

    /// Returns `true` if all scheduled quantizers quantize in full in a step.
    fn is_complete(&self, step: usize) -> bool {
        match &self.schedule {
            Schedule::Whole(schedule) => schedule.value(step) == 1.0,
            Schedule::Layerwise(schedule) => {
                let mut paths = self.controls.paths();
                paths.all(|path| {
                    schedule
                        .value_of(step, path)
                        .is_none_or(|value| value == 1.0)
                })
            }
        }
    }
}

impl<M: LearnerModel> Callback<M> for ProgressiveQuantization {
    fn name(&self) -> &str {
        &self.name
    }

    fn on_train_start(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        run.check_controls(&self.controls)?;
        // For a validation before the next step.
        self.set(run.position().step.saturating_sub(1));
        Ok(())
    }

    fn before_forward(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let step = run.position().step;
        self.set(step);
        let begins = run.is_first_pass() && self.is_complete(step);
        if begins && (step == 0 || !self.is_complete(step - 1)) {
            run.notify(&self.name, "quantized in full from here on");
        }
        Ok(())
    }

    fn on_rollback(
        &mut self,
        run: &mut TrainingRun<M>,
        _state: Option<serde_json::Value>,
    ) -> CallbackResult {
        self.set(run.position().step.saturating_sub(1));
        Ok(())
    }
}
