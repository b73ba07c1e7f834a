use burn::train::LearnerModel;

use super::{Callback, CallbackResult, OptimizerStep, TrainingRun};
use crate::{
    base::bounds::assert_valid,
    optim::{DecoupledWeightDecay, WeightDecaySchedule},
};

/// Sets the weight decay of a [`QatOptimizer`](crate::optim::QatOptimizer) by a schedule over the
/// optimizer steps.
///
/// Without callbacks, use [`WeightDecayScheduler`](crate::optim::WeightDecayScheduler).
pub struct ScheduledWeightDecay {
    weight_decay: DecoupledWeightDecay,
    schedule: WeightDecaySchedule,
}

impl ScheduledWeightDecay {
    /// Creates a schedule of a weight decay that the optimizer holds a clone of.
    ///
    /// # Panics
    ///
    /// If a value of the schedule is negative or not finite.
    #[track_caller]
    pub fn new(weight_decay: &DecoupledWeightDecay, schedule: WeightDecaySchedule) -> Self {
        assert_valid(schedule.validate());
        Self {
            weight_decay: weight_decay.clone(),
            schedule,
        }
    }
}

impl<M: LearnerModel> Callback<M> for ScheduledWeightDecay {
    fn name(&self) -> &str {
        "scheduled_weight_decay"
    }

    fn before_optimizer_step(
        &mut self,
        run: &mut TrainingRun<M>,
        _step: &mut OptimizerStep<'_>,
    ) -> CallbackResult {
        let value = self.schedule.at(run.position().step);
        if value != self.weight_decay.get() {
            self.weight_decay.set(value);
            run.notify_values(
                "scheduled_weight_decay",
                "the weight decay changes",
                [("weight_decay", f64::from(value))],
            );
        }
        Ok(())
    }
}
