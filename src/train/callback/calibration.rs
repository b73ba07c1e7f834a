use std::path::PathBuf;

use burn::train::LearnerModel;
use serde::{Deserialize, Serialize};

use super::{Callback, CallbackResult, TrainingRun};
use crate::quant::{
    ObservationState, QuantControls,
    calibration::{ObserverConfig, SamplingPolicy},
};

/// Observes activations while a model trains, and freezes the ranges into its static quantisers.
///
/// Until then those quantise by the range of each tensor, as far as
/// [`StaticConfig`](crate::quant::StaticConfig) says so. What was observed is part of checkpoints.
pub struct Calibration {
    controls: QuantControls,
    observer: ObserverConfig,
    policy: SamplingPolicy,
    start: usize,
    end: usize,
    file: Option<PathBuf>,
    observing: bool,
}

/// What a checkpoint holds.
#[derive(Serialize, Deserialize)]
struct State {
    observations: ObservationState,
}

impl Calibration {
    /// Observes the forward passes of the optimizer steps `start..end` with the given observer.
    ///
    /// # Panics
    ///
    /// If there is no step to observe.
    pub fn new(
        controls: QuantControls,
        observer: ObserverConfig,
        start: usize,
        end: usize,
    ) -> Self {
        assert!(start < end, "no step lies in {start}..{end}");
        Self {
            controls: controls.filter(|path| path.ends_with("input_quant")),
            observer,
            policy: SamplingPolicy::default(),
            start,
            end,
            file: None,
            observing: false,
        }
    }

    /// The same with only some of the passes observed.
    pub fn with_policy(mut self, policy: SamplingPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// The same with the ranges written to a file.
    pub fn with_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }
}

impl<M: LearnerModel> Callback<M> for Calibration {
    fn name(&self) -> &str {
        "calibration"
    }

    fn before_forward(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let step = run.position().step;
        if !self.observing && (self.start..self.end).contains(&step) {
            self.controls.observe(&self.observer, self.policy);
            self.observing = true;
            run.notify("calibration", "activations are observed from here on");
        }
        Ok(())
    }

    fn after_optimizer_step(
        &mut self,
        run: &mut TrainingRun<M>,
        _output: &super::TrainOutputOf<M>,
    ) -> CallbackResult {
        if !self.observing || run.position().step < self.end {
            return Ok(());
        }
        self.observing = false;
        let table = self.controls.finish_observation()?;
        self.controls.calibrate(&table)?;
        if let Some(path) = &self.file {
            table.save(path)?;
        }
        run.notify(
            "calibration",
            "the ranges of activations are frozen from here on",
        );
        Ok(())
    }

    fn state(&self) -> Option<serde_json::Value> {
        let observations = self.observing.then(|| self.controls.observations())?;
        serde_json::to_value(State { observations }).ok()
    }

    fn load_state(&mut self, state: serde_json::Value) -> CallbackResult {
        let state: State = serde_json::from_value(state)?;
        self.controls.resume_observations(state.observations);
        self.observing = true;
        Ok(())
    }
}
