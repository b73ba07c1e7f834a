use serde::{Deserialize, Serialize};

use crate::{
    base::bounds::{Bounds, positive},
    ops::GradientRule,
};

/// Soft estimator of differentiable soft quantization (DSQ): the slope of a tanh between each level and
/// the next.
///
/// With `v = x / step` in codes, `d` its distance from the nearest threshold between two codes and
/// `k = 1 / temperature`:
///
/// `dL/dx = dL/dQ(x) * k / (2 tanh(k / 2)) * (1 - tanh(k d)^2)` within the codes, else 0.
///
/// The mean factor between two levels is 1. A high temperature gives the clipped estimator; with a low
/// one only values near a threshold have a gradient.
///
/// Source: [Differentiable Soft Quantization](https://arxiv.org/abs/1908.05033), equations 3 to 5.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TanhSte {
    /// Width of the step between two levels, in codes.
    #[serde(deserialize_with = "positive")]
    pub temperature: f32,
}

impl TanhSte {
    /// Creates an estimator of the given temperature.
    ///
    /// # Panics
    ///
    /// If `temperature` is not positive and finite.
    #[track_caller]
    pub fn new(temperature: f32) -> Self {
        Bounds::POSITIVE.assert("temperature", temperature);
        Self { temperature }
    }

    pub(super) fn rule(&self) -> GradientRule {
        GradientRule::Tanh {
            temperature: self.temperature,
        }
    }
}

impl Default for TanhSte {
    fn default() -> Self {
        Self { temperature: 0.5 }
    }
}
