use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{DType, Tensor};

use super::oscillation_state::{OscillationState, Tracked};

/// Counts of flips, oscillations and frozen weights, read while an optimizer trains.
///
/// Clones share the counts: give one to each [`QatOptimizer`](super::QatOptimizer) and keep one.
/// Counting stays on the device; [`take`](Self::take) waits for it.
#[derive(Debug, Clone, Default)]
pub struct OscillationMonitor {
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Weights that flipped, that oscillated and that are frozen, `[3]` in f32.
    sums: Option<Tensor<1>>,
    weights: f64,
}

/// Parts of the tracked weights, averaged over the steps since the last report.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OscillationReport {
    /// Part whose code changed in a step: the flip rate.
    pub flipped: f64,
    /// Part whose code changed against the direction of its last change.
    pub oscillated: f64,
    /// Part that is frozen.
    pub frozen: f64,
}

impl OscillationMonitor {
    /// A monitor that has counted nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was counted since the last call, or `None` if no weight took a step. Waits for the
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
        // The counts are whole at every moment, whatever a thread that held them did afterwards.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
