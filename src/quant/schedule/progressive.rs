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
/// # Ok::<(), bitnet_burn::quant::schedule::ScheduleError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct ProgressiveSchedule {
    shape: ProgressiveShape,
    start: usize,
    end: usize,
    initial: f64,
}

/// A deserialized schedule before validation.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Fields {
    shape: ProgressiveShape,
    start: usize,
    end: usize,
    initial: f64,
}

impl Default for Fields {
    fn default() -> Self {
        let ProgressiveSchedule {
            shape,
            start,
            end,
            initial,
        } = ProgressiveSchedule::default();
        Self {
            shape,
            start,
            end,
            initial,
        }
    }
}

impl TryFrom<Fields> for ProgressiveSchedule {
    type Error = ScheduleError;

    fn try_from(fields: Fields) -> Result<Self, ScheduleError> {
        Self::new(fields.shape, fields.start, fields.end)?.with_initial(fields.initial)
    }
}

impl Default for ProgressiveSchedule {
    fn default() -> Self {
        Self {
            shape: ProgressiveShape::Linear,
            start: 0,
            end: 1000,
            initial: 0.0,
        }
    }
}

impl ProgressiveSchedule {
    /// Creates a schedule that leaves 0 after step `start` and is 1 from step `end` on.
    ///
    /// # Errors
    ///
    /// If it ends before it starts, or a number of the shape is out of its range.
    pub fn new(shape: ProgressiveShape, start: usize, end: usize) -> Result<Self, ScheduleError> {
        shape.validate()?;
        if end < start {
            return Err(ScheduleError::EndBeforeStart { start, end });
        }
        Ok(Self {
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
    pub fn with_initial(mut self, initial: f64) -> Result<Self, ScheduleError> {
        Bounds::FRACTION.check("the initial value", initial)?;
        self.initial = initial;
        Ok(self)
    }

    /// Returns the value at a step, in [0, 1].
    pub fn value(&self, step: usize) -> f64 {
        if step >= self.end {
            return 1.0;
        }
        if step <= self.start {
            return self.initial;
        }
        let share = self.shape.value(step - self.start, self.end - self.start);
        (self.initial + (1.0 - self.initial) * share).min(1.0)
    }

    /// Returns the curve between start and end.
    pub fn shape(&self) -> &ProgressiveShape {
        &self.shape
    }

    /// Returns the last step with the initial value.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Returns the step from which the value is 1.
    pub fn end(&self) -> usize {
        self.end
    }

    /// Returns the value up to the start.
    pub fn initial(&self) -> f64 {
        self.initial
    }

    /// Returns the same curve between other steps.
    pub(super) fn between(&self, start: usize, end: usize) -> Self {
        debug_assert!(start <= end);
        Self {
            start,
            end,
            ..self.clone()
        }
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
                        return Err(ScheduleError::Boundary { index, at });
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

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    fn schedule(shape: ProgressiveShape, start: usize, end: usize) -> ProgressiveSchedule {
        ProgressiveSchedule::new(shape, start, end).unwrap()
    }

    #[test]
    fn the_default_is_the_warm_up_of_a_thousand_steps() {
        let lambda = ProgressiveSchedule::default();
        for step in 0..2000 {
            assert_eq!(lambda.value(step), (step as f64 / 1000.0).min(1.0));
        }
    }

    #[test]
    fn the_shapes_are_their_closed_forms() {
        type Closed = fn(f64) -> f64;
        fn sigmoid(k: f64, t: f64) -> f64 {
            1.0 / (1.0 + (-k * (t - 0.5)).exp())
        }
        fn normalized(k: f64, t: f64) -> f64 {
            (sigmoid(k, t) - sigmoid(k, 0.0)) / (sigmoid(k, 1.0) - sigmoid(k, 0.0))
        }
        let cases: [(ProgressiveShape, Closed); 7] = [
            (ProgressiveShape::Linear, |t| t),
            (ProgressiveShape::Cosine, |t| {
                (1.0 - (core::f64::consts::PI * t).cos()) / 2.0
            }),
            (ProgressiveShape::Exponential { k: 4.0 }, |t| {
                1.0 - (1.0 - t) * (1.0 - t) * (1.0 - t) * (1.0 - t)
            }),
            (ProgressiveShape::Exponential { k: 0.5 }, |t| {
                1.0 - (1.0 - t).sqrt()
            }),
            (ProgressiveShape::Sigmoid { k: 15.0 }, |t| {
                normalized(15.0, t)
            }),
            (ProgressiveShape::Sigmoid { k: 100.0 }, |t| {
                normalized(100.0, t)
            }),
            (ProgressiveShape::Stairs { count: 4 }, |t| {
                (4.0 * t).floor() / 4.0
            }),
        ];
        for (shape, closed) in cases {
            let lambda = schedule(shape.clone(), 50, 306);
            for step in 50..=306 {
                let t = (step - 50) as f64 / 256.0;
                let error = (lambda.value(step) - closed(t)).abs();
                // A few roundings of numbers up to 1.
                assert!(error < 1e-14, "{shape:?} at {t}: {error:e}");
            }
        }
    }

    #[test]
    fn the_sigmoid_is_that_of_the_blog_but_for_its_ends() {
        for k in [15.0, 20.0, 25.0, 40.0, 100.0f64] {
            let lambda = schedule(ProgressiveShape::Sigmoid { k }, 0, 1000);
            let end = 1.0 / (1.0 + (k / 2.0).exp());
            for step in 0..=1000 {
                let blog = 1.0 / (1.0 + (-k * (step as f64 / 1000.0 - 0.5)).exp());
                let error = (lambda.value(step) - blog).abs();
                assert!(error <= end + 1e-14 && error < 6e-4, "k {k}, step {step}");
            }
        }
    }

    #[test]
    fn stairs_are_climbed_at_the_step_even_where_floats_are_short_of_it() {
        let lambda = schedule(ProgressiveShape::Stairs { count: 100 }, 0, 100);
        for step in 0..=100 {
            assert_eq!(lambda.value(step), step as f64 / 100.0);
        }
        let jump = schedule(ProgressiveShape::Stairs { count: 1 }, 0, 10);
        assert_eq!((jump.value(9), jump.value(10)), (0.0, 1.0));
    }

    #[test]
    fn explicit_boundaries_are_climbed_where_they_are_written() {
        let shape = ProgressiveShape::Boundaries {
            at: vec![0.1, 0.3, 0.7],
        };
        let lambda = schedule(shape, 1000, 2000);
        let values = [1099, 1100, 1299, 1300, 1699, 1700, 1999, 2000].map(|s| lambda.value(s));
        assert_eq!(values, [0.0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1.0]);
        let none = schedule(ProgressiveShape::Boundaries { at: vec![] }, 0, 10);
        assert_eq!((none.value(9), none.value(10)), (0.0, 1.0));
    }

    #[test]
    fn a_schedule_without_length_jumps() {
        for shape in [
            ProgressiveShape::Cosine,
            ProgressiveShape::Sigmoid { k: 15.0 },
        ] {
            let jump = schedule(shape, 7, 7).with_initial(0.25).unwrap();
            assert_eq!([6, 7, 8].map(|step| jump.value(step)), [0.25, 1.0, 1.0]);
        }
        assert_eq!(schedule(ProgressiveShape::Linear, 0, 0).value(0), 1.0);
    }

    fn random_shape(rng: &mut StdRng) -> ProgressiveShape {
        // Evenly over the orders of magnitude.
        let k = 10f64.powf(rng.random_range(-3.0..3.0));
        match rng.random_range(0..6) {
            0 => ProgressiveShape::Linear,
            1 => ProgressiveShape::Cosine,
            2 => ProgressiveShape::Exponential { k },
            3 => ProgressiveShape::Sigmoid { k },
            4 => ProgressiveShape::Stairs {
                count: rng.random_range(1..2000),
            },
            _ => {
                let mut at: Vec<f64> = (0..rng.random_range(0..9)).map(|_| rng.random()).collect();
                at.sort_by(f64::total_cmp);
                at.retain(|&at| at > 0.0);
                at.dedup();
                ProgressiveShape::Boundaries { at }
            }
        }
    }

    #[test]
    fn any_schedule_rises_from_its_initial_value_to_one() {
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..300 {
            let start = rng.random_range(0..100);
            let end = start + rng.random_range(0..400);
            let initial = [0.0, rng.random(), 1.0][rng.random_range(0..3)];
            let lambda = schedule(random_shape(&mut rng), start, end)
                .with_initial(initial)
                .unwrap();
            let mut previous = initial;
            for step in 0..end + 10 {
                let value = lambda.value(step);
                assert!(
                    (previous..=1.0).contains(&value),
                    "{lambda:?}: {value} at {step} after {previous}"
                );
                if step <= start && start < end {
                    assert_eq!(value, initial);
                }
                previous = value;
            }
            assert_eq!(lambda.value(end), 1.0);
            assert_eq!(lambda.value(usize::MAX), 1.0);
        }
    }

    #[test]
    fn the_longest_schedule_stays_in_range() {
        let mut rng = StdRng::seed_from_u64(2);
        for _ in 0..200 {
            let lambda = schedule(random_shape(&mut rng), 0, usize::MAX);
            for step in [
                0,
                1,
                usize::MAX / 2,
                usize::MAX - 1,
                rng.random::<u64>() as usize,
            ] {
                assert!((0.0..=1.0).contains(&lambda.value(step)), "{lambda:?}");
            }
        }
    }

    #[test]
    fn json_round_trips_and_says_each_choice_by_name() {
        let lambda = schedule(ProgressiveShape::Sigmoid { k: 40.0 }, 10, 500)
            .with_initial(0.1)
            .unwrap();
        let json = serde_json::to_value(&lambda).unwrap();
        let expected = serde_json::json!(
            {"shape": {"sigmoid": {"k": 40.0}}, "start": 10, "end": 500, "initial": 0.1}
        );
        assert_eq!(json, expected);
        assert_eq!(
            serde_json::from_value::<ProgressiveSchedule>(json).unwrap(),
            lambda
        );
        assert_eq!(
            serde_json::from_str::<ProgressiveSchedule>("{}").unwrap(),
            ProgressiveSchedule::default()
        );
    }

    #[test]
    fn what_cannot_be_is_refused_when_read() {
        for (json, message) in [
            (r#"{"start": 5, "end": 4}"#, "from 5 to 4 ends before"),
            (r#"{"start": 2000}"#, "from 2000 to 1000 ends before"),
            (r#"{"initial": 1.5}"#, "must be in [0, 1], got 1.5"),
            (
                r#"{"shape": {"sigmoid": {"k": 0.0}}}"#,
                "[0.001, 1000], got 0",
            ),
            (r#"{"shape": {"exponential": {"k": -1.0}}}"#, "got -1"),
            (
                r#"{"shape": {"stairs": {"count": 0}}}"#,
                "the number of stairs must be 1 or more, got 0",
            ),
            (
                r#"{"shape": {"boundaries": {"at": [0.5, 0.5]}}}"#,
                "boundary 1 is 0.5",
            ),
            (
                r#"{"shape": {"boundaries": {"at": [1.0]}}}"#,
                "boundary 0 is 1",
            ),
            (r#"{"shape": "square"}"#, "unknown variant `square`"),
            (r#"{"begin": 1}"#, "unknown field `begin`"),
        ] {
            let error = serde_json::from_str::<ProgressiveSchedule>(json).unwrap_err();
            assert!(error.to_string().contains(message), "{json}: {error}");
        }
        let nan = ProgressiveSchedule::default().with_initial(f64::NAN);
        let expected = "the initial value must be in [0, 1], got NaN";
        assert_eq!(nan.unwrap_err().to_string(), expected);
    }
}
