use std::time::Instant;

use burn::train::{LearnerModel, metric::store::Split};

use super::{Callback, CallbackResult, TrainingRun};
use crate::{base::shared::Shared, train::TrainingReport};

/// Recorder of the training report; clones share it.
#[derive(Clone, Default)]
pub(in crate::train) struct ReportRecorder {
    report: Shared<TrainingReport>,
    /// Start of the timed interval.
    since: Option<Instant>,
}

impl ReportRecorder {
    pub fn report(&self) -> TrainingReport {
        self.report.get()
    }

    /// Adds the time since the last call and restarts the timer.
    fn lap(&mut self) {
        let since = self.since.replace(Instant::now());
        let seconds = since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        self.report.with(|report| report.seconds += seconds);
    }
}

impl<M: LearnerModel> Callback<M> for ReportRecorder {
    fn name(&self) -> &str {
        "report"
    }

    fn on_train_start(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let position = run.position();
        self.report.with(|report| {
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

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let step = run.position().step;
        let is_last = run.num_steps() == Some(step);
        let loss = is_last.then(|| run.step_loss()).transpose()?;
        self.report.with(|report| {
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
        self.report.with(|report| {
            report.valid_loss = loss.or(report.valid_loss);
            report.is_complete = is_last || run.position().epoch >= run.num_epochs();
        });
        Ok(())
    }

    fn on_train_end(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        if self.since.is_some() {
            self.lap();
        }
        self.report.with(|report| {
            let over = run.over().cloned();
            report.over = over.filter(|_| !report.is_complete);
        });
        Ok(())
    }
}
