use burn::train::LearnerModel;

use super::{Callback, CallbackResult, TrainingRun};
use crate::{qat::QuantControls, quant::schedule::BitWidthSchedule};

/// Sets the bit width of the weight codes by a schedule over the optimizer steps.
///
/// The width depends on the step alone, also after a rollback. A validation uses the width of the
/// last step.
/// before it.
pub struct BitWidthAnnealing {
    name: String,
    controls: QuantControls,
    schedule: BitWidthSchedule,
}

impl BitWidthAnnealing {
    /// Schedules the bit width of the weights among the controls.
    pub fn new(controls: QuantControls, schedule: BitWidthSchedule) -> Self {
        Self {
            name: "bit_width_annealing".to_string(),
            controls,
            schedule,
        }
    }

    /// Sets a name other than `bit_width_annealing`, so that several can be used side by side.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    fn set(&self, step: usize) {
        let width = self.schedule.value(step);
        self.controls.set_weight_width(Some(width));
    }
}

impl<M: LearnerModel> Callback<M> for BitWidthAnnealing {
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
        let width = self.schedule.value(step);
        // Only at changes, so that a mitigation can raise the bit width of a layer in between.
        let changes = step == 0 || width != self.schedule.value(step - 1);
        if changes && run.is_first_pass() {
            self.set(step);
            let message = format!("weights have {width} from here on");
            run.notify(&self.name, message);
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
