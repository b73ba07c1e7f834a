use serde::{Deserialize, Deserializer, Serialize};

use crate::base::bounds::Bounds;

const EVERY: &str = "the number of steps between samples";

/// Sampling schedule of an observer: every `n`-th step, up to a maximum number of samples.
///
/// # Example
///
/// ```
/// use bitnet_burn::quant::calibration::SamplingPolicy;
///
/// let policy = SamplingPolicy::every(10).with_max_samples(64);
/// assert!(policy.should_observe(20, 2));
/// assert!(!policy.should_observe(21, 2));
/// assert!(!policy.should_observe(640, 64));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingPolicy {
    #[serde(deserialize_with = "deserialize_every")]
    every: usize,
    max_samples: Option<u64>,
}

fn deserialize_every<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    Bounds::COUNT.read(EVERY, deserializer)
}

impl SamplingPolicy {
    /// Creates a schedule of the steps 0, `n`, `2n` and so on, without a maximum.
    ///
    /// # Panics
    ///
    /// If `n` is zero.
    #[track_caller]
    pub fn every(n: usize) -> Self {
        Bounds::COUNT.assert(EVERY, n);
        Self {
            every: n,
            max_samples: None,
        }
    }

    /// Sets the maximum number of samples.
    #[must_use]
    pub fn with_max_samples(mut self, max_samples: u64) -> Self {
        self.max_samples = Some(max_samples);
        self
    }

    /// Returns whether to observe at a step, after `seen` samples.
    ///
    /// [`Observer::num_samples`](super::Observer::num_samples) is the number of samples so far.
    pub fn should_observe(&self, step: usize, seen: u64) -> bool {
        step.is_multiple_of(self.every) && self.max_samples.is_none_or(|max| seen < max)
    }
}

impl Default for SamplingPolicy {
    /// Returns the schedule of every step.
    fn default() -> Self {
        Self::every(1)
    }
}
