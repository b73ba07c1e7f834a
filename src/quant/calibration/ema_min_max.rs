use serde::{Deserialize, Deserializer, Serialize};

use super::{ObserverGranularity, extremes::Extremes};
use crate::base::bounds::{Bounds, OutOfBounds};

/// Observer of exponential moving averages of the smallest and the largest value of the samples:
/// `b_1 = x_1`, `b_n = m * b_(n-1) + (1 - m) * x_n`, where `x_n` is the bound of sample `n` and `m`
/// the momentum.
///
/// An outlying sample moves the range only by `1 - m` of the distance; values may lie outside the range.
/// Only the bounds of a tensor are read back from the device. The result depends on the order of the samples.
///
/// Source: [Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
/// Inference](https://arxiv.org/abs/1712.05877); PyTorch's `MovingAverageMinMaxObserver` with
/// `averaging_constant = 1 - m`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmaMinMaxConfig {
    /// Momentum in [0, 1); 0.99 by default.
    #[serde(deserialize_with = "deserialize_momentum")]
    pub momentum: f64,
    /// Values that share a range.
    pub granularity: ObserverGranularity,
}

impl Default for EmaMinMaxConfig {
    fn default() -> Self {
        Self {
            momentum: 0.99,
            granularity: ObserverGranularity::PerTensor,
        }
    }
}

const MOMENTUM: &str = "momentum";

fn deserialize_momentum<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Bounds::BELOW_1.read(MOMENTUM, deserializer)
}

impl EmaMinMaxConfig {
    pub(super) fn validate(&self) -> Result<(), OutOfBounds> {
        Bounds::BELOW_1.check(MOMENTUM, self.momentum)
    }
}

/// State of the observer: averages of each channel, none before the first sample.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EmaMinMax {
    pub(super) min: Vec<f64>,
    pub(super) max: Vec<f64>,
}

impl EmaMinMax {
    pub(super) fn update(&mut self, sample: &Extremes, momentum: f64) {
        let wide = |bounds: &[f32]| bounds.iter().map(|&bound| bound as f64).collect();
        let (min, max): (Vec<f64>, Vec<f64>) = (wide(&sample.min), wide(&sample.max));
        if self.min.is_empty() {
            (self.min, self.max) = (min, max);
            return;
        }
        let average = |old: f64, new: f64| momentum * old + (1.0 - momentum) * new;
        for channel in 0..min.len() {
            // Without a finite value the minimum is above the maximum.
            let nothing_new = min[channel] > max[channel];
            let nothing_old = self.min[channel] > self.max[channel];
            if nothing_old {
                (self.min[channel], self.max[channel]) = (min[channel], max[channel]);
            } else if !nothing_new {
                self.min[channel] = average(self.min[channel], min[channel]);
                self.max[channel] = average(self.max[channel], max[channel]);
            }
        }
    }
}
