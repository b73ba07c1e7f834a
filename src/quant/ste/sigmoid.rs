use serde::{Deserialize, Serialize};

use crate::{
    base::bounds::{Bounds, positive},
    ops::GradientRule,
};

/// Soft estimator of quantization networks: the slope of a sum of sigmoids, one for each threshold
/// `t` between two codes.
///
/// With `v = x / step` in codes and `sigma'(z) = sigma(z) (1 - sigma(z))`:
///
/// `dL/dx = dL/dQ(x) * sum over t of sigma'((v - t) / temperature) / temperature`
///
/// Unlike [`TanhSte`](super::TanhSte) it has a gradient beyond the last level. The cost of the backward
/// pass grows with the number of thresholds within 20 temperatures.
///
/// Source: [Quantization Networks](https://arxiv.org/abs/1911.09464), equations 3 and 9.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SigmoidSte {
    /// Width of the steps, in codes.
    #[serde(deserialize_with = "positive")]
    pub temperature: f32,
}

impl SigmoidSte {
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
        GradientRule::Sigmoid {
            temperature: self.temperature,
        }
    }
}

impl Default for SigmoidSte {
    fn default() -> Self {
        Self { temperature: 0.25 }
    }
}
