use std::{io, path::PathBuf};

use super::CalibrationError;

/// Error when a [`CalibrationTable`](super::CalibrationTable) cannot be read, written or filled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The file could not be read or written.
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
    /// The file has another format.
    #[error("{file}: expected a calibration table, found `{found}`")]
    Format {
        /// The file.
        file: PathBuf,
        /// The format named in the file.
        found: String,
    },
    /// The version of the file is not supported, such as a newer one.
    #[error("{file}: expected version {supported} of a calibration table, found version {found}")]
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u64,
        /// The version that is supported.
        supported: u64,
    },
    /// A path occurs twice.
    #[error("{}`{path}` is in the table already", prefix(.file))]
    Duplicate {
        /// The path in the model.
        path: String,
        /// The file, if the table was read from one.
        file: Option<PathBuf>,
    },
    /// An observer has no range for the table.
    #[error("`{path}` has no range: {source}")]
    NoRange {
        /// The path in the model.
        path: String,
        /// The reason.
        source: CalibrationError,
    },
}

fn prefix(file: &Option<PathBuf>) -> String {
    match file {
        Some(file) => format!("{}: ", file.display()),
        None => String::new(),
    }
}
