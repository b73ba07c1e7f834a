use core::fmt;

use burn::tensor::TensorReadError;

/// Why a calibration gives no range.
#[derive(Debug)]
#[non_exhaustive]
pub enum CalibrationError {
    /// No value was observed.
    NothingObserved,
    /// NaN or infinite values were observed.
    NonFinite {
        /// Their number.
        non_finite: u64,
        /// Number of finite values observed.
        finite: u64,
    },
    /// The values of a tensor could not be read from its device.
    Read(TensorReadError),
    /// The bounds of a range are not finite, or its minimum is above its maximum.
    Bounds {
        /// Number of the channel, 0 for a whole tensor.
        channel: usize,
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
    /// A range has no bounds, or not as many lower as upper ones.
    NumBounds {
        /// Number of lower bounds.
        min: usize,
        /// Number of upper bounds.
        max: usize,
    },
    /// A field of an observer's configuration is out of its range.
    Config {
        /// Name of the field.
        field: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: f64,
    },
    /// The state of an observer that was read contradicts itself.
    State(&'static str),
    /// Two observers cannot be merged.
    Merge(&'static str),
}

/// Panics with what is wrong with a configuration.
#[track_caller]
pub(super) fn assert_valid(checked: Result<(), CalibrationError>) {
    if let Err(error) = checked {
        panic!("{error}");
    }
}

impl fmt::Display for CalibrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingObserved => write!(f, "no value was observed"),
            Self::NonFinite { non_finite, finite } => write!(
                f,
                "{non_finite} of {} observed values are NaN or infinite",
                non_finite.saturating_add(*finite)
            ),
            Self::Read(error) => write!(f, "an observed tensor could not be read: {error}"),
            Self::Bounds { channel, min, max } => write!(
                f,
                "bounds are finite and in order, channel {channel} has [{min}, {max}]"
            ),
            Self::NumBounds { min, max } => write!(
                f,
                "a range has a lower and an upper bound for each channel, got {min} and {max}"
            ),
            Self::Config {
                field,
                expected,
                found,
            } => write!(f, "`{field}` of an observer is {expected}, got {found}"),
            Self::State(what) => write!(f, "the state of an observer is not valid: {what}"),
            Self::Merge(why) => write!(f, "the observers cannot be merged: {why}"),
        }
    }
}

impl core::error::Error for CalibrationError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Read(error) => Some(error),
            _ => None,
        }
    }
}

impl From<TensorReadError> for CalibrationError {
    fn from(error: TensorReadError) -> Self {
        Self::Read(error)
    }
}
