use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::quant::calibration::{CalibrationError, Observer, ObserverConfig, SamplingPolicy};

/// The observer of a quantizer during a calibration.
#[derive(Debug, Default)]
pub(super) struct Observation {
    /// Checked first, so that a forward pass without calibration takes no lock.
    active: AtomicBool,
    state: Mutex<Option<State>>,
}

#[derive(Debug)]
struct State {
    seen: Seen,
    error: Option<CalibrationError>,
}

/// An observation in progress, as stored in checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seen {
    observer: Observer,
    policy: SamplingPolicy,
    passes: usize,
    /// Observes training only: passes without autodiff (validation, inference) are skipped.
    #[serde(default)]
    training_only: bool,
}

impl Observation {
    pub fn start(&self, config: &ObserverConfig, policy: SamplingPolicy, training_only: bool) {
        self.resume(Seen {
            observer: config.init(),
            policy,
            passes: 0,
            training_only,
        });
    }

    /// Resumes an observation.
    pub fn resume(&self, seen: Seen) {
        let state = State { seen, error: None };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
        self.active.store(true, Ordering::Release);
    }

    /// Returns whether an observation is in progress.
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// Returns the observation in progress, if there is one without an error.
    pub fn seen(&self) -> Option<Seen> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = state.as_ref().filter(|state| state.error.is_none())?;
        Some(state.seen.clone())
    }

    /// Ends the observation and returns the observer, or the first error of reading a tensor.
    pub fn finish(&self) -> Option<Result<Observer, CalibrationError>> {
        self.active.store(false, Ordering::Release);
        let state = self
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        Some(match state.error {
            Some(error) => Err(error),
            None => Ok(state.seen.observer),
        })
    }

    /// Observes the values of a forward pass, if the policy selects it.
    pub fn see<const D: usize>(&self, values: &Tensor<D>) {
        if !self.is_active() {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = state.as_mut() else {
            return;
        };
        let seen = &mut state.seen;
        if seen.training_only && !values.device().is_autodiff() {
            return;
        }
        let pass = seen.passes;
        seen.passes += 1;
        if state.error.is_none()
            && seen
                .policy
                .should_observe(pass, seen.observer.num_samples())
            && let Err(error) = seen.observer.observe(values.clone().detach())
        {
            state.error = Some(error);
        }
    }
}
