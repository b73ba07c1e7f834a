//! Ranges of configured numbers: checked where a configuration is read, and where it is used.

use serde::{Deserialize, Deserializer, de::Error};

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

    /// Panics with the name and value of a number outside of the range.
    #[track_caller]
    pub(super) fn assert_contains(self, name: &str, value: f64) {
        let phrase = self.phrase();
        assert!(
            self.contains(value),
            "{name} must be {phrase}, got {value:?}"
        );
    }

    fn deserialize<'de, D: Deserializer<'de>>(self, deserializer: D) -> Result<f64, D::Error> {
        let value = f64::deserialize(deserializer)?;
        let phrase = self.phrase();
        match self.contains(value) {
            true => Ok(value),
            false => Err(D::Error::custom(format!(
                "the number must be {phrase}, got {value:?}"
            ))),
        }
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
