//! Callbacks that stop a training, change it, or collect its events.

use std::sync::{Arc, Mutex};

use bitnet_burn::train::callback::{Callback, CallbackResult, TrainingEvent, TrainingRun};
use burn::train::LearnerModel;

/// Runs an action after a number of steps.
pub struct At<F>(pub usize, pub F);

impl<M: LearnerModel, F: FnMut(&mut TrainingRun<M>) -> CallbackResult + Send> Callback<M>
    for At<F>
{
    fn name(&self) -> &str {
        "at"
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        match run.position().step == self.0 {
            true => (self.1)(run),
            false => Ok(()),
        }
    }
}

/// Stops after a number of steps.
pub fn stop_at<M: LearnerModel>(step: usize) -> impl Callback<M> {
    At(step, |run: &mut TrainingRun<M>| {
        run.stop("at", "enough");
        Ok(())
    })
}

/// Collects events.
#[derive(Clone, Default)]
pub struct Events(pub Arc<Mutex<Vec<TrainingEvent>>>);

impl<M: LearnerModel> Callback<M> for Events {
    fn name(&self) -> &str {
        "events"
    }

    fn on_event(&mut self, event: &TrainingEvent) -> CallbackResult {
        self.0.lock().unwrap().push(event.clone());
        Ok(())
    }
}
