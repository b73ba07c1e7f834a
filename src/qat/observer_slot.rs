use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::quant::calibration::{CalibrationError, Observer, ObserverConfig, SamplingPolicy};

/// Place for the observer of a quantizer during a calibration.
#[derive(Debug, Default)]
pub(super) struct ObserverSlot {
    /// Checked first, so that a forward pass without calibration takes no lock.
    active: AtomicBool,
    /// Number of repeated passes in progress, which are not observed.
    repeats: AtomicUsize,
    /// The observer, or the first error of reading a tensor.
    state: Mutex<Option<Result<ObserverState, CalibrationError>>>,
}

/// An observer in use, as stored in checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ObserverState {
    observer: Observer,
    policy: SamplingPolicy,
    passes: usize,
    /// Observes training only: passes without autodiff (validation, inference) are skipped.
    #[serde(default)]
    training_only: bool,
}

impl ObserverState {
    pub fn new(config: &ObserverConfig, policy: SamplingPolicy, training_only: bool) -> Self {
        Self {
            observer: config.init(),
            policy,
            passes: 0,
            training_only,
        }
    }

    /// Observes the values of a forward pass, if the policy selects it.
    fn see<const D: usize>(&mut self, values: &Tensor<D>) -> Result<(), CalibrationError> {
        if self.training_only && !values.device().is_autodiff() {
            return Ok(());
        }
        let pass = self.passes;
        self.passes += 1;
        let seen = self.observer.num_samples();
        match self.policy.should_observe(pass, seen) {
            true => self.observer.observe(values.clone().detach()),
            false => Ok(()),
        }
    }
}

impl ObserverSlot {
    /// Starts or resumes an observation.
    pub fn start(&self, state: ObserverState) {
        *self.lock() = Some(Ok(state));
        self.active.store(true, Ordering::Release);
    }

    /// Returns whether an observation is in progress.
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// Returns the observation in progress, if there is one without an error.
    pub fn state(&self) -> Option<ObserverState> {
        match &*self.lock() {
            Some(Ok(state)) => Some(state.clone()),
            _ => None,
        }
    }

    /// Ends the observation and returns the observer, or the first error of reading a tensor.
    pub fn finish(&self) -> Option<Result<Observer, CalibrationError>> {
        self.active.store(false, Ordering::Release);
        let state = self.lock().take()?;
        Some(state.map(|state| state.observer))
    }

    /// Passes the values of a forward pass to the observer, if there is one.
    pub fn see<const D: usize>(&self, values: &Tensor<D>) {
        if !self.is_active() || self.repeats.load(Ordering::Acquire) > 0 {
            return;
        }
        let mut state = self.lock();
        if let Some(Ok(observer)) = &mut *state
            && let Err(error) = observer.see(values)
        {
            *state = Some(Err(error));
        }
    }

    /// Begins a pass that repeats an observed one.
    pub fn begin_repeat(&self) {
        self.repeats.fetch_add(1, Ordering::AcqRel);
    }

    /// Ends it.
    pub fn end_repeat(&self) {
        self.repeats.fetch_sub(1, Ordering::AcqRel);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Result<ObserverState, CalibrationError>>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
