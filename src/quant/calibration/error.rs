use burn::tensor::TensorReadError;

use crate::base::bounds::OutOfBounds;

/// Error of a calibration without a valid range.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// No value was observed.
    #[error("no value was observed")]
    NothingObserved,
    /// Values that are NaN or infinite were observed.
    #[error(
        "{non_finite} of {} observed values are NaN or infinite",
        .non_finite.saturating_add(*.finite)
    )]
    NonFinite {
        /// Their number.
        non_finite: u64,
        /// Number of finite values observed.
        finite: u64,
    },
    /// The values of a tensor could not be read from its device.
    #[error("an observed tensor could not be read: {0}")]
    Read(#[from] TensorReadError),
    /// The bounds of a range are not finite, or its minimum is above its maximum.
    #[error("bounds are finite and in order, channel {channel} has [{min}, {max}]")]
    Bounds {
        /// Number of the channel, 0 for a whole tensor.
        channel: usize,
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
    /// A range has no bounds, or the numbers of lower and upper bounds differ.
    #[error("a range has a lower and an upper bound for each channel, got {min} and {max}")]
    NumBounds {
        /// Number of lower bounds.
        min: usize,
        /// Number of upper bounds.
        max: usize,
    },
    /// A field of an observer's configuration is out of its range.
    #[error(transparent)]
    Config(#[from] OutOfBounds),
    /// The deserialized state of an observer is inconsistent.
    #[error("the state of an observer is not valid: {0}")]
    State(&'static str),
    /// Two observers cannot be merged.
    #[error("the observers cannot be merged: {0}")]
    Merge(&'static str),
}
