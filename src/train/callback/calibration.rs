use std::path::PathBuf;

use burn::train::LearnerModel;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Callback, CallbackResult, TrainingRun};
use crate::{
    base::bounds::assert_valid,
    qat::{ObserverStates, QuantControls},
    quant::calibration::{ObserverConfig, SamplingPolicy},
};

/// Observes activations during training, then freezes the ranges of the static quantizers.
///
/// Before, those quantize by the range of each tensor, as
/// [`ActivationQuantizer::Static`](crate::quant::ActivationQuantizer::Static) defines. Only the forward passes of training are
/// observed, not those of validations. Checkpoints store the observations: a rollback restores
/// them, and the missing steps are observed again. A training that ends before the calibration
/// freezes the ranges observed until then, and logs this at its first step.
pub struct Calibration {
    name: String,
    controls: QuantControls,
    observer: ObserverConfig,
    policy: SamplingPolicy,
    start: usize,
    end: usize,
    file: Option<PathBuf>,
    state: State,
    /// `true` once `end` was compared with the length of the training.
    compared: bool,
}

/// State in a checkpoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// Number of observed optimizer steps.
    observed: usize,
    /// Observations so far, while they are in progress.
    observations: Option<ObserverStates>,
    /// Length of the training, if it was logged that it ends too early.
    #[serde(default)]
    too_early: Option<usize>,
}

impl Calibration {
    /// Creates a calibration that observes the forward passes of the optimizer steps `start..end`.
    ///
    /// # Panics
    ///
    /// If there is no step to observe, or a value of the observer is out of range.
    #[track_caller]
    pub fn new(
        controls: QuantControls,
        observer: ObserverConfig,
        start: usize,
        end: usize,
    ) -> Self {
        assert!(start < end, "no step lies in {start}..{end}");
        assert_valid(observer.validate());
        Self {
            name: "calibration".to_string(),
            controls: controls.filter(|path| path.ends_with("input_quant")),
            observer,
            policy: SamplingPolicy::default(),
            start,
            end,
            file: None,
            state: State::default(),
            compared: false,
        }
    }

    /// Sets a name other than `calibration`, so that several can be used side by side.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the policy that selects the observed passes.
    #[must_use]
    pub fn with_policy(mut self, policy: SamplingPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the file to which the ranges are written.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    fn is_complete(&self) -> bool {
        self.state.observed >= self.end - self.start
    }

    /// Logs at the first step if the training ends too early.
    fn compare<M: LearnerModel>(&mut self, run: &mut TrainingRun<M>) {
        let Some(num_steps) = run.num_steps() else {
            return;
        };
        if std::mem::replace(&mut self.compared, true) || self.is_complete() {
            return;
        }
        let missing = self.end - self.start - self.state.observed;
        let end = run.position().step.max(self.start) + missing;
        let too_early = Some(num_steps).filter(|num_steps| end > *num_steps);
        let before = std::mem::replace(&mut self.state.too_early, too_early);
        if too_early.is_some() && too_early != before {
            let message = format!(
                "the calibration is complete after step {end}, the training ends after step \
                 {num_steps}: the ranges are frozen there, by what was observed until then"
            );
            run.notify(&self.name, message);
        }
    }

    /// Resumes an observation.
    fn resume(&mut self, state: State) {
        if self.controls.is_observing() {
            // The ranges of a discarded observation are not used.
            let _ = self.controls.finish_observation();
        }
        if let Some(observations) = state.observations.clone() {
            self.controls.resume_observations(observations);
        }
        self.state = State {
            observations: None,
            ..state
        };
    }

    fn freeze<M: LearnerModel>(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let table = self.controls.finish_observation()?;
        self.controls.calibrate(&table)?;
        if let Some(path) = &self.file {
            table.save(path)?;
        }
        run.notify(
            &self.name,
            "the ranges of activations are frozen from here on",
        );
        Ok(())
    }
}

impl<M: LearnerModel> Callback<M> for Calibration {
    fn name(&self) -> &str {
        &self.name
    }

    fn on_train_start(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(run.check_controls(&self.controls)?)
    }

    fn before_forward(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        self.compare(run);
        let begins = run.position().step >= self.start && !self.is_complete();
        if begins && !self.controls.is_observing() {
            self.controls.observe_training(&self.observer, self.policy);
            run.notify(&self.name, "activations are observed from here on");
        }
        Ok(())
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        if !self.controls.is_observing() {
            return Ok(());
        }
        self.state.observed += 1;
        match self.is_complete() {
            true => self.freeze(run),
            false => Ok(()),
        }
    }

    fn on_train_end(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        if !self.controls.is_observing() {
            return Ok(());
        }
        if self.state.observed == 0 || run.has_failed() {
            let _ = self.controls.finish_observation();
            return Ok(());
        }
        self.freeze(run)
    }

    fn on_rollback(&mut self, _run: &mut TrainingRun<M>, state: Option<Value>) -> CallbackResult {
        let state = state.map(serde_json::from_value::<State>).transpose()?;
        self.resume(State {
            too_early: self.state.too_early,
            ..state.unwrap_or_default()
        });
        Ok(())
    }

    fn state(&self) -> Option<Value> {
        let observing = self.controls.is_observing();
        let state = State {
            observations: observing.then(|| self.controls.observations()),
            ..self.state.clone()
        };
        serde_json::to_value(state).ok()
    }

    fn load_state(&mut self, state: Value) -> CallbackResult {
        let state = serde_json::from_value(state)?;
        self.resume(state);
        Ok(())
    }
}
