use serde::{Deserialize, Serialize};

use crate::{
    base::bounds::{Bounds, positive},
    ops::GradientRule,
};

/// Clipped straight-through estimator: `dL/dx = dL/dQ(x)` where
/// `bound * lowest level <= x <= bound * highest level`, else 0.
///
/// For ternary weights this range is `|W| <= bound * gamma`, for absmax activations `|x|` at most `bound`
/// times the scale of the largest code. With a bound of 1, weights that cannot be represented stop
/// moving away from the levels (saturating estimator).
///
/// Sources: [Quantized Neural Networks](https://arxiv.org/abs/1609.07061) (bound 1).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClippedSte {
    /// Multiple of the range of the levels outside of which there is no gradient.
    #[serde(deserialize_with = "positive")]
    pub bound: f32,
}

impl ClippedSte {
    /// Creates an estimator that passes gradients within `bound` times the range of the levels.
    ///
    /// # Panics
    ///
    /// If `bound` is not positive and finite.
    #[track_caller]
    pub fn new(bound: f32) -> Self {
        Bounds::POSITIVE.assert("bound", bound);
        Self { bound }
    }

    pub(super) fn rule(&self) -> GradientRule {
        GradientRule::Clipped { bound: self.bound }
    }
}

impl Default for ClippedSte {
    fn default() -> Self {
        Self { bound: 1.0 }
    }
}
