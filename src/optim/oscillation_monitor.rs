use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{DType, Tensor};

use super::oscillation_state::{OscillationState, Tracked};

/// Counts of flips, oscillations and frozen weights, readable during training.
///
/// Clones share the counts: pass one to each [`QatOptimizer`](super::QatOptimizer) and keep one.
/// The counts stay on the device; [`take`](Self::take) waits for it.
#[derive(Debug, Clone, Default)]
pub struct OscillationMonitor {
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Number of flipped, oscillated and frozen weights, `[3]` in f32.
    sums: Option<Tensor<1>>,
    weights: f64,
}

/// Fractions of the tracked weights, averaged over the steps since the last report.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OscillationReport {
    /// Fraction whose code changed in a step: the flip rate.
    pub flipped: f64,
    /// Fraction whose code changed against the direction of its last change.
    pub oscillated: f64,
    /// Frozen fraction.
    pub frozen: f64,
}

impl OscillationMonitor {
    /// Creates a monitor with no counts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the report since the last call, or `None` if no weight was stepped. Waits for the
    /// device.
    pub fn take(&self) -> Option<OscillationReport> {
        let counts = core::mem::take(&mut *self.lock());
        let sums: Vec<f32> = counts.sums?.into_data().iter().collect();
        let part = |i: usize| f64::from(sums[i]) / counts.weights;
        Some(OscillationReport {
            flipped: part(0),
            oscillated: part(1),
            frozen: part(2),
        })
    }

    pub(super) fn add<const D: usize>(&self, tracked: &Tracked<D>, state: &OscillationState<D>) {
        let masks = [&tracked.flipped, &tracked.oscillated, &state.frozen];
        let sums = masks.map(|mask| mask.clone().float().cast(DType::F32).sum());
        let sums = Tensor::cat(sums.to_vec(), 0);
        let mut counts = self.lock();
        counts.weights += state.codes.shape().num_elements() as f64;
        counts.sums = Some(match counts.sums.take() {
            Some(before) => sums.to_device(&before.device()) + before,
            None => sums,
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        // The counts are consistent at all times, even if a thread panicked while it held them.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
