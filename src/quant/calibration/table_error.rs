use core::fmt;
use std::{io, path::PathBuf};

use super::CalibrationError;

/// Why a [`CalibrationTable`](super::CalibrationTable) cannot be read, written or filled.
#[derive(Debug)]
#[non_exhaustive]
pub enum TableError {
    /// The file could not be read or written.
    Io {
        /// The file.
        file: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The file is not the JSON of a table.
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong, and in which line.
        source: serde_json::Error,
    },
    /// The file says that it is something else.
    Format {
        /// The file.
        file: PathBuf,
        /// What it says that it is.
        found: String,
    },
    /// The file is of a version that is not supported, such as a newer one.
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u64,
        /// The version that is supported.
        supported: u64,
    },
    /// A path comes twice.
    Duplicate {
        /// The path in the model.
        path: String,
        /// The file, where the table was read from one.
        file: Option<PathBuf>,
    },
    /// An observer has no range to put in.
    NoRange {
        /// The path in the model.
        path: String,
        /// Why there is none.
        source: CalibrationError,
    },
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { file, source } => write!(f, "{}: {source}", file.display()),
            Self::Malformed { file, source } => {
                write!(f, "{}: no calibration table: {source}", file.display())
            }
            Self::Format { file, found } => write!(
                f,
                "{}: expected a calibration table, found `{found}`",
                file.display()
            ),
            Self::Version {
                file,
                found,
                supported,
            } => write!(
                f,
                "{}: expected version {supported} of a calibration table, found version {found}",
                file.display()
            ),
            Self::Duplicate { path, file } => {
                if let Some(file) = file {
                    write!(f, "{}: ", file.display())?;
                }
                write!(f, "`{path}` is in the table already")
            }
            Self::NoRange { path, source } => write!(f, "`{path}` has no range: {source}"),
        }
    }
}

impl core::error::Error for TableError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Malformed { source, .. } => Some(source),
            Self::NoRange { source, .. } => Some(source),
            _ => None,
        }
    }
}
