use serde::{Deserialize, Serialize};

/// State of the observer: bounds of each channel, none before the first sample.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MinMax {
    pub(super) min: Vec<f32>,
    pub(super) max: Vec<f32>,
}

impl MinMax {
    /// Includes other bounds.
    pub(super) fn widen(&mut self, min: &[f32], max: &[f32]) {
        if self.min.is_empty() {
            (self.min, self.max) = (min.to_vec(), max.to_vec());
            return;
        }
        for (bound, &min) in self.min.iter_mut().zip(min) {
            *bound = bound.min(min);
        }
        for (bound, &max) in self.max.iter_mut().zip(max) {
            *bound = bound.max(max);
        }
    }
}
