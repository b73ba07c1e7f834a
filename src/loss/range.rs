//! Ranges of configured numbers: checked where a configuration is read, and where it is used.

use serde::{Deserialize, Deserializer};

use crate::base::setting::{assert_right, read_right};

/// A range that a number must lie in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Range {
    /// Above zero, finite.
    Positive,
    /// Zero or above, finite.
    NotNegative,
    /// From 0 to 1, both included.
    Fraction,
}

impl Range {
    fn contains(self, value: f64) -> bool {
        match self {
            Self::Positive => value > 0.0 && value.is_finite(),
            Self::NotNegative => value >= 0.0 && value.is_finite(),
            Self::Fraction => (0.0..=1.0).contains(&value),
        }
    }

    fn phrase(self) -> &'static str {
        match self {
            Self::Positive => "positive and finite",
            Self::NotNegative => "zero or above and finite",
            Self::Fraction => "in [0, 1]",
        }
    }

    /// What is wrong with a number, which is called `name`.
    fn fault(self, name: &str, value: f64) -> Option<String> {
        let phrase = self.phrase();
        let fault = || format!("{name} must be {phrase}, got {value:?}");
        (!self.contains(value)).then(fault)
    }

    /// Panics with the name and value of a number outside of the range.
    #[track_caller]
    pub(super) fn assert_contains(self, name: &str, value: f64) {
        assert_right(self.fault(name, value));
    }

    fn deserialize<'de, D: Deserializer<'de>>(self, deserializer: D) -> Result<f64, D::Error> {
        let value = f64::deserialize(deserializer)?;
        read_right(value, self.fault("the number", value))
    }
}

/// Reads a number above zero.
pub(super) fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Range::Positive.deserialize(deserializer)
}

/// Reads a number that is zero or above.
pub(super) fn not_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Range::NotNegative.deserialize(deserializer)
}

/// Reads a number from 0 to 1.
pub(super) fn fraction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Range::Fraction.deserialize(deserializer)
}
