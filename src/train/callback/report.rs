use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use burn::train::{
    LearnerModel,
    metric::{Adaptor, LossInput, store::Split},
};

use super::{BackwardPass, Callback, CallbackResult, TrainOutputOf, TrainingRun};
use crate::train::TrainingReport;

/// Recorder of the training report; clones share it.
#[derive(Clone, Default)]
pub(in crate::train) struct ReportRecorder {
    report: Arc<Mutex<TrainingReport>>,
    /// Start of the timed interval.
    since: Option<Instant>,
}

impl ReportRecorder {
    pub fn report(&self) -> TrainingReport {
        self.with(|report| report.clone())
    }

    fn with<T>(&self, f: impl FnOnce(&mut TrainingReport) -> T) -> T {
        f(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds the time since the last call and restarts the timer.
    fn lap(&mut self) {
        let since = self.since.replace(Instant::now());
        let seconds = since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        self.with(|report| report.seconds += seconds);
    }
}

impl<M: LearnerModel> Callback<M> for ReportRecorder
where
    TrainOutputOf<M>: Adaptor<LossInput>,
{
    fn name(&self) -> &str {
        "report"
    }

    fn on_train_start(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let position = run.position();
        self.with(|report| {
            report.steps = position.step;
            // For a training that was already complete when it was resumed.
            let has_all_steps = run.over().is_some() && run.num_steps() == Some(position.step);
            report.is_complete = has_all_steps || position.epoch > run.num_epochs();
        });
        Ok(())
    }

    fn on_epoch_start(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        self.since = Some(Instant::now());
        Ok(())
    }

    fn after_backward(
        &mut self,
        run: &mut TrainingRun<M>,
        pass: &mut BackwardPass<'_, M>,
    ) -> CallbackResult {
        if run.num_steps() == Some(run.position().step + 1) {
            run.record_loss(pass.output)?;
        }
        Ok(())
    }

    fn after_optimizer_step(
        &mut self,
        run: &mut TrainingRun<M>,
        output: &TrainOutputOf<M>,
    ) -> CallbackResult {
        let step = run.position().step;
        let is_last = run.num_steps() == Some(step);
        let loss = is_last.then(|| run.step_loss(output)).transpose()?;
        self.with(|report| {
            report.steps = step;
            report.steps_here += 1;
            report.train_loss = loss.or(report.train_loss);
        });
        Ok(())
    }

    fn on_validation_start(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        self.lap();
        self.since = None;
        Ok(())
    }

    fn on_validation_end(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let loss = run.metric("Loss", Split::Valid);
        let is_last = run.num_steps() == Some(run.position().step);
        self.with(|report| {
            report.valid_loss = loss.or(report.valid_loss);
            report.is_complete = is_last || run.position().epoch >= run.num_epochs();
        });
        Ok(())
    }

    fn on_train_end(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        if self.since.is_some() {
            self.lap();
        }
        self.with(|report| {
            let over = run.over().cloned();
            report.over = over.filter(|_| !report.is_complete);
        });
        Ok(())
    }
}
