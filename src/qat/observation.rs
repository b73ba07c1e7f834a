use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::quant::calibration::{CalibrationError, Observer, ObserverConfig, SamplingPolicy};

/// The observer of a quantiser, while a calibration is under way.
#[derive(Debug, Default)]
pub(super) struct Observation {
    /// So that a forward pass without calibration takes no lock.
    active: AtomicBool,
    state: Mutex<Option<State>>,
}

#[derive(Debug)]
struct State {
    seen: Seen,
    error: Option<CalibrationError>,
}

/// An observation under way, as checkpoints keep it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seen {
    observer: Observer,
    policy: SamplingPolicy,
    passes: usize,
    /// Passes without autodiff are not observed: validation and inference.
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

    /// Goes on with an observation.
    pub fn resume(&self, seen: Seen) {
        let state = State { seen, error: None };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
        self.active.store(true, Ordering::Release);
    }

    /// Whether an observation is under way.
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// The observation under way, if there is one without an error.
    pub fn seen(&self) -> Option<Seen> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = state.as_ref().filter(|state| state.error.is_none())?;
        Some(state.seen.clone())
    }

    /// Ends the observation: the observer, or the first error of reading a tensor.
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

    /// Observes the values of a forward pass, if it is one of those that the policy takes.
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
