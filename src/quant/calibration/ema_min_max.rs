use serde::{Deserialize, Deserializer, Serialize};

use super::extremes::Extremes;
use crate::base::bounds::{Bounds, OutOfBounds};

const MOMENTUM: &str = "momentum";

/// Returns the momentum where none is given.
pub(super) fn momentum() -> f64 {
    0.99
}

pub(super) fn deserialize_momentum<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<f64, D::Error> {
    Bounds::BELOW_1.read(MOMENTUM, deserializer)
}

pub(super) fn check_momentum(momentum: f64) -> Result<(), OutOfBounds> {
    Bounds::BELOW_1.check(MOMENTUM, momentum)
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
