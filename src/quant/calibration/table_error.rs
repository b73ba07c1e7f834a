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
        /// What went wrong.
        source: io::Error,
    },
    /// The file is not the JSON of a table.
    #[error("{file}: no calibration table: {source}")]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong, and in which line.
        source: serde_json::Error,
    },
    /// The file says that it is something else.
    #[error("{file}: expected a calibration table, found `{found}`")]
    Format {
        /// The file.
        file: PathBuf,
        /// What it says that it is.
        found: String,
    },
    /// The file is of a version that is not supported, such as a newer one.
    #[error("{file}: expected version {supported} of a calibration table, found version {found}")]
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u64,
        /// The version that is supported.
        supported: u64,
    },
    /// A path comes twice.
    #[error("{}`{path}` is in the table already", prefix(.file))]
    Duplicate {
        /// The path in the model.
        path: String,
        /// The file, where the table was read from one.
        file: Option<PathBuf>,
    },
    /// An observer has no range to put in.
    #[error("`{path}` has no range: {source}")]
    NoRange {
        /// The path in the model.
        path: String,
        /// Why there is none.
        source: CalibrationError,
    },
}

fn prefix(file: &Option<PathBuf>) -> String {
    match file {
        Some(file) => format!("{}: ", file.display()),
        None => String::new(),
    }
}
