use core::{f64::consts::FRAC_PI_2, ops::Bound::Included};

use serde::{Deserialize, Serialize};

use super::ScheduleError;
use crate::base::bounds::Bounds;

/// Bounds of the steepness of the shapes. Beyond them, a curve is almost a line or a jump, and its
/// normalization loses digits.
const STEEPNESS: Bounds = Bounds::new(Included(1e-3), Included(1e3), "in [0.001, 1000]");

/// Shape of a [`ProgressiveSchedule`]: its progress after the share `t` of its duration, in [0, 1].
///
/// Every shape is 0 at `t = 0` and 1 at `t = 1`, and never decreases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProgressiveShape {
    /// Linear: `t`.
    Linear,
    /// Half a cosine: `sin^2(pi t / 2) = (1 - cos(pi t)) / 2`.
    Cosine,
    /// Power: `1 - (1 - t)^k`, fast at first for `k > 1`.
    ///
    /// This is the "exponential" warm-up of the [1.58-bit fine-tuning
    /// blog](https://huggingface.co/blog/1_58_llm_extreme_quantization), used there with `k` from 4 to 10.
    Exponential {
        /// Exponent, in [0.001, 1000].
        k: f64,
    },
    /// Normalized sigmoid: `(s(t) - s(0)) / (s(1) - s(0))` with `s(t) = 1 / (1 + exp(-k (t - 1/2)))`.
    ///
    /// The blog's warm-up is `s(t)` itself, which is `1 / (1 + exp(k / 2))` off at both ends. Normalized, it
    /// starts at 0 and ends at 1 exactly. The two differ by less than 0.0006 for the values of `k` used
    /// there, 15 to 100.
    Sigmoid {
        /// Steepness in the middle, in [0.001, 1000].
        k: f64,
    },
    /// Staircase: `floor(n t) / n`, `n` stairs of equal length and height.
    Stairs {
        /// Number of stairs `n`; 1 is a jump at the end.
        count: usize,
    },
    /// Staircase with given boundaries: `i / n` from the `i`-th boundary on, where `n` is one more than
    /// their number. The stairs have equal height; the last one is at the end.
    Boundaries {
        /// Increasing shares of the duration, in (0, 1).
        at: Vec<f64>,
    },
}

/// Schedule of the strength of quantization, which grows to 1: `lambda` in
/// `x + lambda * stopgrad(Q(x) - x)`.
///
/// - `initial` before and at `start`,
/// - `initial + (1 - initial) * shape(t)` with `t = (step - start) / (end - start)` between,
/// - exactly 1 from `end` on.
///
/// With `start == end` the value jumps. It never decreases from one step to the next (two steps whose
/// values differ by less than a rounding of `f64`, such as neighbors among more than `10^7`, may
/// swap their last bits). The unit of steps is the caller's, such as epochs.
///
/// The default is the final recipe of the [1.58-bit fine-tuning
/// blog](https://huggingface.co/blog/1_58_llm_extreme_quantization), `min(step / 1000, 1)`. The
/// fields are checked on construction and on deserialization.
///
/// # Example
///
/// ```
/// use bitnet_burn::quant::schedule::{ProgressiveSchedule, ProgressiveShape};
///
/// let lambda = ProgressiveSchedule::new(ProgressiveShape::Linear, 100, 300)?;
/// assert_eq!(lambda.value(100), 0.0);
/// assert_eq!(lambda.value(150), 0.25);
/// assert_eq!(lambda.value(300), 1.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct ProgressiveSchedule(Fields);

/// The fields of a schedule, as they are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Fields {
    shape: ProgressiveShape,
    start: usize,
    end: usize,
    initial: f64,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            shape: ProgressiveShape::Linear,
            start: 0,
            end: 1000,
            initial: 0.0,
        }
    }
}

impl TryFrom<Fields> for ProgressiveSchedule {
    type Error = ScheduleError;

    fn try_from(fields: Fields) -> Result<Self, ScheduleError> {
        fields.shape.validate()?;
        let (start, end) = (fields.start, fields.end);
        if end < start {
            return Err(ScheduleError(format!(
                "a schedule from {start} to {end} ends before it starts"
            )));
        }
        Bounds::FRACTION.check("the initial value", fields.initial)?;
        Ok(Self(fields))
    }
}

impl From<ProgressiveSchedule> for Fields {
    fn from(schedule: ProgressiveSchedule) -> Self {
        schedule.0
    }
}

impl ProgressiveSchedule {
    /// Creates a schedule that leaves 0 after step `start` and is 1 from step `end` on.
    ///
    /// # Errors
    ///
    /// If it ends before it starts, or a number of the shape is out of its range.
    pub fn new(shape: ProgressiveShape, start: usize, end: usize) -> Result<Self, ScheduleError> {
        Self::try_from(Fields {
            shape,
            start,
            end,
            initial: 0.0,
        })
    }

    /// Sets the value up to the start, 0 by default.
    ///
    /// # Errors
    ///
    /// If the value is not in [0, 1].
    pub fn with_initial(self, initial: f64) -> Result<Self, ScheduleError> {
        Self::try_from(Fields { initial, ..self.0 })
    }

    /// Returns the value at a step, in [0, 1].
    pub fn value(&self, step: usize) -> f64 {
        if step >= self.0.end {
            return 1.0;
        }
        if step <= self.0.start {
            return self.0.initial;
        }
        let share = self
            .0
            .shape
            .value(step - self.0.start, self.0.end - self.0.start);
        (self.0.initial + (1.0 - self.0.initial) * share).min(1.0)
    }

    /// Returns the curve between start and end.
    pub fn shape(&self) -> &ProgressiveShape {
        &self.0.shape
    }

    /// Returns the last step with the initial value.
    pub fn start(&self) -> usize {
        self.0.start
    }

    /// Returns the step from which the value is 1.
    pub fn end(&self) -> usize {
        self.0.end
    }

    /// Returns the value up to the start.
    pub fn initial(&self) -> f64 {
        self.0.initial
    }

    /// Returns the same curve between other steps.
    pub(super) fn between(&self, start: usize, end: usize) -> Self {
        debug_assert!(start <= end);
        let fields = self.0.clone();
        Self(Fields {
            start,
            end,
            ..fields
        })
    }
}

impl ProgressiveShape {
    fn validate(&self) -> Result<(), ScheduleError> {
        match self {
            Self::Linear | Self::Cosine => Ok(()),
            Self::Exponential { k } | Self::Sigmoid { k } => {
                Ok(STEEPNESS.check("the steepness k", *k)?)
            }
            Self::Stairs { count } => Ok(Bounds::COUNT.check("the number of stairs", *count)?),
            Self::Boundaries { at } => {
                let mut previous = 0.0;
                for (index, &at) in at.iter().enumerate() {
                    // Written so that NaN is also rejected.
                    if !(at > previous && at < 1.0) {
                        return Err(ScheduleError(format!(
                            "boundaries between stairs increase and lie in (0, 1), boundary \
                             {index} is {at}"
                        )));
                    }
                    previous = at;
                }
                Ok(())
            }
        }
    }

    /// Returns the curve at `t = elapsed / duration`, for `0 < elapsed < duration`.
    fn value(&self, elapsed: usize, duration: usize) -> f64 {
        let t = elapsed as f64 / duration as f64;
        match self {
            Self::Linear => t,
            Self::Cosine => (FRAC_PI_2 * t).sin().powi(2),
            Self::Exponential { k } => 1.0 - (1.0 - t).powf(*k),
            // The normalized sigmoid, in a form without cancellation for small k.
            Self::Sigmoid { k } => {
                let odd = (k * (t - 0.5) / 2.0).tanh() / (k / 4.0).tanh();
                (0.5 + 0.5 * odd).clamp(0.0, 1.0)
            }
            // In integers: 0.57 * 100 is less than 57.
            Self::Stairs { count } => {
                let climbed = elapsed as u128 * *count as u128 / duration as u128;
                climbed as f64 / *count as f64
            }
            Self::Boundaries { at } => {
                at.partition_point(|&at| at <= t) as f64 / (at.len() + 1) as f64
            }
        }
    }
}
