//! Bounds of configuration values, checked on construction, on reading and on use.

use core::{
    fmt::Display,
    ops::{
        Bound::{self, Excluded, Included},
        RangeBounds,
    },
};

use serde::{Deserialize, Deserializer, de::Error};

/// Error for a configuration value out of its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} must be {expected}, got {found}")]
pub struct OutOfBounds {
    /// Name of the value, such as `optimizer.beta_2`.
    pub name: String,
    /// Description of the allowed values.
    pub expected: String,
    /// The value found.
    pub found: String,
}

impl OutOfBounds {
    /// Returns an error unless a condition holds.
    pub(crate) fn unless(
        holds: bool,
        name: &str,
        expected: &str,
        found: impl Display,
    ) -> Result<(), Self> {
        match holds {
            true => Ok(()),
            false => Err(Self::new(name, expected, found)),
        }
    }

    pub(crate) fn new(name: &str, expected: &str, found: impl Display) -> Self {
        Self {
            name: name.to_string(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// Returns the error of the configuration that holds this one as a field.
    pub(crate) fn within(self, field: &str) -> Self {
        Self {
            name: format!("{field}.{}", self.name),
            ..self
        }
    }
}

/// The allowed values of a number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    range: (Bound<f64>, Bound<f64>),
    phrase: &'static str,
}

/// A number with bounds.
pub(crate) trait Number: Copy + Display {
    /// Returns the value.
    fn value(self) -> f64;
}

macro_rules! numbers {
    ($($number:ty),+) => {
        $(impl Number for $number {
            fn value(self) -> f64 {
                self as f64
            }
        })+
    };
}

numbers!(f32, u8, u32, usize);

impl Number for f64 {
    fn value(self) -> f64 {
        self
    }
}

impl Bounds {
    /// Numbers above 0.
    pub(crate) const POSITIVE: Self = Self::new(
        Excluded(0.0),
        Excluded(f64::INFINITY),
        "positive and finite",
    );
    /// Numbers above 0, and infinity.
    pub(crate) const ABOVE_0: Self = Self::new(Excluded(0.0), Included(f64::INFINITY), "positive");
    /// Numbers above 1, and infinity.
    pub(crate) const ABOVE_1: Self = Self::new(Excluded(1.0), Included(f64::INFINITY), "above 1");
    /// Numbers of 0 or more.
    pub(crate) const NOT_NEGATIVE: Self = Self::new(
        Included(0.0),
        Excluded(f64::INFINITY),
        "zero or above and finite",
    );
    /// All numbers.
    #[cfg(feature = "train")]
    pub(crate) const FINITE: Self = Self::new(
        Excluded(f64::NEG_INFINITY),
        Excluded(f64::INFINITY),
        "finite",
    );
    /// Numbers from 0 to 1.
    pub(crate) const FRACTION: Self = Self::new(Included(0.0), Included(1.0), "in [0, 1]");
    /// Numbers from 0 to 1, without 0.
    pub(crate) const POSITIVE_FRACTION: Self = Self::new(Excluded(0.0), Included(1.0), "in (0, 1]");
    /// Numbers from 0 to 1, without 1.
    pub(crate) const BELOW_1: Self = Self::new(Included(0.0), Excluded(1.0), "in [0, 1)");
    /// Numbers between 0 and 1, without both.
    pub(crate) const BETWEEN_0_AND_1: Self = Self::new(Excluded(0.0), Excluded(1.0), "in (0, 1)");
    /// Counts: 1 or more.
    pub(crate) const COUNT: Self = Self::new(Included(1.0), Included(f64::INFINITY), "1 or more");

    /// Creates bounds, described by the phrase in error messages.
    pub(crate) const fn new(lower: Bound<f64>, upper: Bound<f64>, phrase: &'static str) -> Self {
        Self {
            range: (lower, upper),
            phrase,
        }
    }

    /// Rejects a number out of the bounds.
    pub(crate) fn check(self, name: &str, number: impl Number) -> Result<(), OutOfBounds> {
        let within = self.range.contains(&number.value());
        OutOfBounds::unless(within, name, self.phrase, number)
    }

    /// Panics for a number out of the bounds.
    #[track_caller]
    pub(crate) fn assert(self, name: &str, number: impl Number) {
        assert_valid(self.check(name, number));
    }

    /// Deserializes a number within the bounds.
    pub(crate) fn read<'de, T: Number + Deserialize<'de>, D: Deserializer<'de>>(
        self,
        name: &str,
        deserializer: D,
    ) -> Result<T, D::Error> {
        let number = T::deserialize(deserializer)?;
        self.check(name, number).map_err(D::Error::custom)?;
        Ok(number)
    }
}

/// Panics with the error of a configuration.
#[track_caller]
pub(crate) fn assert_valid<E: Display>(checked: Result<(), E>) {
    if let Err(error) = checked {
        panic!("{error}");
    }
}

/// Deserializes a number above 0.
pub(crate) fn positive<'de, T: Number + Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Bounds::POSITIVE.read("the number", deserializer)
}

/// Deserializes a number of 0 or more.
pub(crate) fn not_negative<'de, T: Number + Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Bounds::NOT_NEGATIVE.read("the number", deserializer)
}

/// Deserializes a number from 0 to 1.
pub(crate) fn fraction<'de, T: Number + Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Bounds::FRACTION.read("the number", deserializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_their_ends_as_written() {
        for (bounds, within, beyond) in [
            (Bounds::POSITIVE, f64::MAX, f64::INFINITY),
            (Bounds::POSITIVE, f64::MIN_POSITIVE, 0.0),
            (Bounds::ABOVE_0, f64::INFINITY, -0.0),
            (Bounds::ABOVE_1, 1.5, 1.0),
            (Bounds::NOT_NEGATIVE, 0.0, -1e-9),
            (Bounds::NOT_NEGATIVE, f64::MAX, f64::INFINITY),
            (Bounds::FRACTION, 0.0, -0.1),
            (Bounds::FRACTION, 1.0, 1.1),
            (Bounds::POSITIVE_FRACTION, 1.0, 0.0),
            (Bounds::BELOW_1, 0.0, 1.0),
            (Bounds::BETWEEN_0_AND_1, 0.5, 1.0),
            (Bounds::COUNT, 1.0, 0.0),
        ] {
            assert!(bounds.check("x", within).is_ok(), "{bounds:?}");
            assert!(bounds.check("x", beyond).is_err(), "{bounds:?}");
            assert!(bounds.check("x", f64::NAN).is_err(), "{bounds:?}");
        }
    }

    #[test]
    fn errors_name_the_value_and_its_place() {
        let error = Bounds::FRACTION.check("keep", 1.5f32).unwrap_err();
        assert_eq!(error.to_string(), "keep must be in [0, 1], got 1.5");
        let error = error.within("activation").within("qat");
        assert_eq!(
            error.to_string(),
            "qat.activation.keep must be in [0, 1], got 1.5"
        );
    }
}
