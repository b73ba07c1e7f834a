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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_so_many_and_so_far_apart() {
        let policy = SamplingPolicy::every(3).with_max_samples(4);
        let mut observed = Vec::new();
        for step in 0..100 {
            if policy.should_observe(step, observed.len() as u64) {
                observed.push(step);
            }
        }
        assert_eq!(observed, [0, 3, 6, 9]);
        assert!((0..100).all(|step| SamplingPolicy::default().should_observe(step, 1 << 40)));
    }

    #[test]
    fn json_round_trips_and_a_distance_of_zero_is_refused() {
        let policy = SamplingPolicy::every(3).with_max_samples(4);
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!(json, r#"{"every":3,"max_samples":4}"#);
        assert_eq!(
            serde_json::from_str::<SamplingPolicy>(&json).unwrap(),
            policy
        );
        let default = serde_json::from_str::<SamplingPolicy>("{}").unwrap();
        assert_eq!(default, SamplingPolicy::default());
        let error = serde_json::from_str::<SamplingPolicy>(r#"{"every": 0}"#).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("between samples must be 1 or more, got 0")
        );
    }
}
