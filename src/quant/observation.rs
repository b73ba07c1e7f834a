use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use burn::tensor::Tensor;

use super::calibration::{CalibrationError, Observer, ObserverConfig, SamplingPolicy};

/// The observer of a quantiser, while a calibration is under way.
#[derive(Debug, Default)]
pub(super) struct Observation {
    /// So that a forward pass without calibration takes no lock.
    active: AtomicBool,
    state: Mutex<Option<State>>,
}

#[derive(Debug)]
struct State {
    observer: Observer,
    policy: SamplingPolicy,
    passes: usize,
    error: Option<CalibrationError>,
}

impl Observation {
    pub fn start(&self, config: &ObserverConfig, policy: SamplingPolicy) {
        let state = State {
            observer: config.init(),
            policy,
            passes: 0,
            error: None,
        };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
        self.active.store(true, Ordering::Release);
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
            None => Ok(state.observer),
        })
    }

    /// Observes the values of a forward pass, if it is one of those that the policy takes.
    pub fn see<const D: usize>(&self, values: &Tensor<D>) {
        if !self.active.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = state.as_mut() else {
            return;
        };
        let pass = state.passes;
        state.passes += 1;
        if state.error.is_none()
            && state
                .policy
                .should_observe(pass, state.observer.num_samples())
            && let Err(error) = state.observer.observe(values.clone().detach())
        {
            state.error = Some(error);
        }
    }
}
