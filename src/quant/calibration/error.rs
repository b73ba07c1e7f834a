use std::{io, path::PathBuf};

use burn::tensor::TensorReadError;

use crate::base::bounds::OutOfBounds;

/// Error of a calibration without a valid range, or of a [`CalibrationTable`](super::CalibrationTable) that cannot be
/// read, written or filled.
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
    /// The file of a table could not be read or written.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file is not the JSON of a table.
    #[error("{file}: no calibration table: {source}")]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The error and its line.
        source: serde_json::Error,
    },
    /// The file of a table has another format.
    #[error("{file}: expected a calibration table, found `{found}`")]
    Format {
        /// The file.
        file: PathBuf,
        /// The format named in the file.
        found: String,
    },
    /// The version of the file of a table is not supported, such as a newer one.
    #[error("{file}: expected version {supported} of a calibration table, found version {found}")]
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u64,
        /// The version that is supported.
        supported: u64,
    },
    /// A path is twice in a table.
    #[error("{}`{path}` is in the table already", prefix(.file))]
    Duplicate {
        /// The path in the model.
        path: String,
        /// The file, if the table was read from one.
        file: Option<PathBuf>,
    },
    /// An observer has no range for a table.
    #[error("`{path}` has no range: {source}")]
    NoRange {
        /// The path in the model.
        path: String,
        /// The reason.
        source: Box<CalibrationError>,
    },
}

fn prefix(file: &Option<PathBuf>) -> String {
    match file {
        Some(file) => format!("{}: ", file.display()),
        None => String::new(),
    }
}
