use burn::train::LearnerModel;
use serde_json::Value;

use super::{Callback, CallbackResult, TrainingRun};
use crate::{
    qat::QuantControls,
    quant::schedule::{BitWidthSchedule, LayerwiseSchedule, ProgressiveSchedule},
};

/// Callback that sets a property of quantizers by a schedule over the optimizer steps.
///
/// The value depends on the step alone, also after a rollback. A validation uses the value of the
/// last step.
pub struct QuantizerSchedule<S> {
    name: String,
    controls: QuantControls,
    schedule: S,
}

/// Schedule of a property of quantizers.
pub trait Schedule: Send {
    /// Sets the quantizers to the value of a step.
    fn set(&self, controls: &QuantControls, step: usize);

    /// Sets the quantizers at the start of a step. Returns a message if the schedule reaches a
    /// stage there.
    fn begin(&self, controls: &QuantControls, step: usize) -> Option<String>;
}

impl<S> QuantizerSchedule<S> {
    /// Sets a name other than the default, so that several can be used side by side.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}

impl<M: LearnerModel, S: Schedule> Callback<M> for QuantizerSchedule<S> {
    fn name(&self) -> &str {
        &self.name
    }

    fn on_train_start(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        run.check_controls(&self.controls)?;
        // For a validation before the next step.
        self.on_rollback(run, None)
    }

    fn before_forward(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        if run.is_first_pass()
            && let Some(message) = self.schedule.begin(&self.controls, run.position().step)
        {
            run.notify(&self.name, message);
        }
        Ok(())
    }

    fn on_rollback(&mut self, run: &mut TrainingRun<M>, _state: Option<Value>) -> CallbackResult {
        let step = run.position().step.saturating_sub(1);
        self.schedule.set(&self.controls, step);
        Ok(())
    }
}

/// Sets the bit width of the weight codes by a schedule over the optimizer steps.
///
/// The width depends on the step alone, also after a rollback. A validation uses the width of the
/// last step.
pub type BitWidthAnnealing = QuantizerSchedule<BitWidthSchedule>;

impl BitWidthAnnealing {
    /// Schedules the bit width of the weights among the controls.
    pub fn new(controls: QuantControls, schedule: BitWidthSchedule) -> Self {
        Self {
            name: "bit_width_annealing".to_string(),
            controls,
            schedule,
        }
    }
}

impl Schedule for BitWidthSchedule {
    fn set(&self, controls: &QuantControls, step: usize) {
        controls.set_weight_width(Some(self.value(step)));
    }

    fn begin(&self, controls: &QuantControls, step: usize) -> Option<String> {
        let width = self.value(step);
        // Only at changes, so that a mitigation can raise the bit width of a layer in between.
        let changes = step == 0 || width != self.value(step - 1);
        changes.then(|| {
            self.set(controls, step);
            format!("weights have {width} from here on")
        })
    }
}

/// Sets the strength of quantization of a model's quantizers by a schedule over the optimizer
/// steps.
///
/// The value depends on the step alone, also after a rollback. A validation uses the value of the
/// last step.
pub type ProgressiveQuantization = QuantizerSchedule<Strength>;

/// Strength of quantization over the optimizer steps.
pub enum Strength {
    /// One value for all quantizers.
    Whole(ProgressiveSchedule),
    /// A value for each layer.
    Layerwise(LayerwiseSchedule),
}

impl ProgressiveQuantization {
    /// Applies one schedule to all quantizers.
    pub fn new(controls: QuantControls, schedule: ProgressiveSchedule) -> Self {
        Self::of_strength(controls, Strength::Whole(schedule))
    }

    /// Applies the schedule of its layer to each quantizer. Quantizers without a schedule stay
    /// unchanged.
    pub fn layerwise(controls: QuantControls, schedule: LayerwiseSchedule) -> Self {
        Self::of_strength(controls, Strength::Layerwise(schedule))
    }

    fn of_strength(controls: QuantControls, schedule: Strength) -> Self {
        Self {
            name: "progressive_quantization".to_string(),
            controls,
            schedule,
        }
    }
}

impl Strength {
    /// Returns `true` if all scheduled quantizers quantize in full in a step.
    fn is_complete(&self, controls: &QuantControls, step: usize) -> bool {
        match self {
            Self::Whole(schedule) => schedule.value(step) == 1.0,
            Self::Layerwise(schedule) => controls
                .paths()
                .filter_map(|path| schedule.value_of(step, path))
                .all(|value| value == 1.0),
        }
    }
}

impl Schedule for Strength {
    fn set(&self, controls: &QuantControls, step: usize) {
        match self {
            Self::Whole(schedule) => controls.set_lambda(schedule.value(step)),
            Self::Layerwise(schedule) => {
                controls.set_lambdas(|path| schedule.value_of(step, path));
            }
        }
    }

    fn begin(&self, controls: &QuantControls, step: usize) -> Option<String> {
        self.set(controls, step);
        let is_first = step == 0 || !self.is_complete(controls, step - 1);
        (is_first && self.is_complete(controls, step))
            .then(|| "quantized in full from here on".to_string())
    }
}
