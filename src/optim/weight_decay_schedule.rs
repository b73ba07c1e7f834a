use core::f64::consts::PI;

use serde::{Deserialize, Deserializer, Serialize};

use crate::base::bounds::{Bounds, OutOfBounds};

/// Weight decay as a function of the step, counted from 0: the last step of `T` is `T - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WeightDecaySchedule {
    /// Constant value.
    Constant {
        /// Value at each step.
        #[serde(deserialize_with = "deserialize_decay")]
        value: f32,
    },
    /// `value` before the step `until`, then 0.
    Until {
        /// Value before the step `until`.
        #[serde(deserialize_with = "deserialize_decay")]
        value: f32,
        /// First step without decay.
        until: usize,
    },
    /// Linear from `start` at step 0 to `end` at step `steps`, and `end` afterwards.
    Linear {
        /// Value at step 0.
        #[serde(deserialize_with = "deserialize_decay")]
        start: f32,
        /// Value from step `steps` on.
        #[serde(deserialize_with = "deserialize_decay")]
        end: f32,
        /// Number of steps from `start` to `end`.
        steps: usize,
    },
    /// `end + (start - end) (1 + cos(pi t / steps)) / 2` at step `t`, and `end` from step `steps`
    /// on.
    Cosine {
        /// Value at step 0.
        #[serde(deserialize_with = "deserialize_decay")]
        start: f32,
        /// Value from step `steps` on.
        #[serde(deserialize_with = "deserialize_decay")]
        end: f32,
        /// Number of steps from `start` to `end`.
        steps: usize,
    },
    /// Half a cosine from 0 up to `peak` at step `until`, then 0.
    RiseUntil {
        /// Value that is approached.
        #[serde(deserialize_with = "deserialize_decay")]
        peak: f32,
        /// First step without decay.
        until: usize,
    },
}

fn deserialize_decay<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    Bounds::NOT_NEGATIVE.read("weight decay", deserializer)
}

impl WeightDecaySchedule {
    pub(crate) fn validate(&self) -> Result<(), OutOfBounds> {
        let values = match *self {
            Self::Constant { value } | Self::Until { value, .. } => [value; 2],
            Self::Linear { start, end, .. } | Self::Cosine { start, end, .. } => [start, end],
            Self::RiseUntil { peak, .. } => [peak; 2],
        };
        let mut values = values.into_iter();
        values.try_for_each(|value| Bounds::NOT_NEGATIVE.check("weight decay", value))
    }

    /// Recipe of BitNet b1.58: `value` (0.1) for the first half of the training, then 0.
    ///
    /// Source: [Training Tips, Code and
    /// FAQ](https://github.com/microsoft/unilm/blob/master/bitnet/The-Era-of-1-bit-LLMs__Training_Tips_Code_FAQ.pdf),
    /// table 2.
    ///
    /// # Panics
    ///
    /// If the value is negative or not finite.
    #[track_caller]
    pub fn until_midpoint(value: f32, total_steps: usize) -> Self {
        Bounds::NOT_NEGATIVE.assert("weight decay", value);
        Self::Until {
            value,
            until: total_steps / 2,
        }
    }

    /// Recipe of BitNet b1.58 2B4T: along a cosine to `peak` (0.1) at the midpoint of the training,
    /// then 0.
    ///
    /// Source: [BitNet b1.58 2B4T Technical Report](https://arxiv.org/abs/2504.12285),
    /// section 3.1.
    ///
    /// # Panics
    ///
    /// If the value is negative or not finite.
    #[track_caller]
    pub fn rise_until_midpoint(peak: f32, total_steps: usize) -> Self {
        Bounds::NOT_NEGATIVE.assert("weight decay", peak);
        Self::RiseUntil {
            peak,
            until: total_steps / 2,
        }
    }

    /// Returns the weight decay at a step.
    pub fn at(&self, step: usize) -> f32 {
        let between = |start: f32, end: f32, part: f64| {
            (f64::from(end) + f64::from(start - end) * part) as f32
        };
        let cosine = |steps: usize| (1.0 + (PI * step as f64 / steps as f64).cos()) / 2.0;
        match *self {
            Self::Constant { value } => value,
            Self::Until { value, until } if step < until => value,
            Self::RiseUntil { peak, until } if step < until => between(0.0, peak, cosine(until)),
            Self::Until { .. } | Self::RiseUntil { .. } => 0.0,
            Self::Linear { end, steps, .. } | Self::Cosine { end, steps, .. } if step >= steps => {
                end
            }
            Self::Linear { start, end, steps } => {
                between(start, end, 1.0 - step as f64 / steps as f64)
            }
            Self::Cosine { start, end, steps } => between(start, end, cosine(steps)),
        }
    }
}
