use burn::{module::Module, train::LearnerModel};

use super::{
    Callback, CallbackResult, NonFinite, OptimizerStep, TrainingRun,
    non_finite::{SkippedSteps, all_finite},
};

/// Detects NaN and infinite values in gradients before each optimizer step, and in parameters
/// before each validation and checkpoint, and reports the affected tensors.
///
/// Consecutive bad steps are counted, whether this callback skips them or another one, such as
/// [`LossScaling`](super::LossScaling). A step that is not skipped resets the count. Loss scaling
/// finds its scale by skipping steps: together with it, allow more consecutive skips than its scale
/// needs to decrease from the initial value.
///
/// The error is a [`NonFinite`]: it lists the gradients and parameters, the loss of the last batch,
/// and the first step of the series. Waits for the device once per step.
#[derive(Debug, Clone)]
pub struct NanGuard {
    /// Maximum number of consecutive skips.
    max_skips: usize,
    skipped: SkippedSteps,
    /// Steps skipped before one that passed the check.
    before: SkippedSteps,
    /// Error that ends the training after this step.
    fatal: Option<NonFinite>,
}

impl NanGuard {
    /// Ends the training with an error at the first such value, and at the first skipped step.
    pub fn stop() -> Self {
        Self::skip(0)
    }

    /// Skips steps with such a gradient. Ends the training with an error if more than `max_skips`
    /// consecutive steps are skipped, or a parameter has such a value.
    pub fn skip(max_skips: usize) -> Self {
        Self {
            max_skips,
            skipped: SkippedSteps::default(),
            before: SkippedSteps::default(),
            fatal: None,
        }
    }

    /// Counts a step that passed the check but was skipped by a later callback.
    fn count_later_skip(&mut self, reason: String, step: usize) {
        let row = std::mem::take(&mut self.before);
        self.skipped = row.and(step);
        if row.count >= self.max_skips {
            self.fatal = Some(NonFinite {
                parameters: Vec::new(),
                gradients: Vec::new(),
                loss: None,
                skips: row.count,
                since: row.since(step),
                skipped: Some(reason),
                min_scale: None,
            });
        }
    }

    fn check_parameters<M: Module>(&self, model: &M, step: usize) -> CallbackResult {
        match all_finite(model, None) {
            true => Ok(()),
            false => Err(NonFinite::find(model, None, step, self.skipped).into()),
        }
    }
}

impl<M: LearnerModel> Callback<M> for NanGuard {
    fn name(&self) -> &str {
        "nan_guard"
    }

    fn before_optimizer_step(
        &mut self,
        run: &mut TrainingRun<M>,
        step: &mut OptimizerStep<'_>,
    ) -> CallbackResult {
        let model = run.model();
        let skipped = step.skipped().map(str::to_string);
        if skipped.is_none() && all_finite(&model, Some(&*step.grads)) {
            self.before = std::mem::take(&mut self.skipped);
            return Ok(());
        }
        let number = run.position().step;
        let mut found = NonFinite::find(&model, Some(&*step.grads), number, self.skipped);
        self.skipped = self.skipped.and(number);
        if skipped.is_none() {
            run.notify("nan_guard", format!("the step is skipped: {found}"));
            step.skip(found.to_string());
        }
        if found.skips >= self.max_skips || !found.parameters.is_empty() {
            found.skipped = skipped;
            self.fatal = Some(found);
        }
        Ok(())
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        if let Some(reason) = run.skipped().filter(|_| self.skipped.count == 0) {
            self.count_later_skip(reason.to_string(), run.position().step - 1);
        }
        let Some(mut found) = self.fatal.take() else {
            return Ok(());
        };
        found.loss = run.step_loss.last().ok();
        Err(found.into())
    }

    fn on_validation_start(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        self.check_parameters(&run.model(), run.position().step)
    }

    fn before_checkpoint(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        self.check_parameters(&run.model(), run.position().step)
    }

    fn state(&self) -> Option<serde_json::Value> {
        serde_json::to_value(self.skipped).ok()
    }

    fn load_state(&mut self, state: serde_json::Value) -> CallbackResult {
        self.skipped = serde_json::from_value(state)?;
        Ok(())
    }
}
