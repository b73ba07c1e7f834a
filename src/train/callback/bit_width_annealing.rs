use burn::train::LearnerModel;

use super::{Callback, CallbackResult, TrainingRun};
use crate::quant::{BitWidth, QuantControls, schedule::BitWidthSchedule};

/// Sets the width of the weight codes by a schedule over the optimizer steps.
pub struct BitWidthAnnealing {
    controls: QuantControls,
    schedule: BitWidthSchedule,
    width: Option<BitWidth>,
}

impl BitWidthAnnealing {
    /// The weights among the controls by the schedule.
    pub fn new(controls: QuantControls, schedule: BitWidthSchedule) -> Self {
        Self {
            controls,
            schedule,
            width: None,
        }
    }
}

impl<M: LearnerModel> Callback<M> for BitWidthAnnealing {
    fn name(&self) -> &str {
        "bit_width_annealing"
    }

    fn before_forward(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let width = Some(self.schedule.value(run.position().step));
        if width != self.width {
            self.controls.set_weight_width(width);
            self.width = width;
            if let Some(width) = width {
                run.notify(
                    "bit_width_annealing",
                    format!("weights have {width} from here on"),
                );
            }
        }
        Ok(())
    }
}
