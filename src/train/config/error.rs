use core::fmt;
use std::{io, path::PathBuf};

/// Why a configuration cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum TrainingConfigError {
    /// The operating system refused.
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// The name of a file tells neither TOML nor JSON.
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The text is no configuration: a syntax error, an unknown field, or a value that its field
    /// does not take.
    Parse {
        /// Where it is, such as `qat.weight.symmetric.bits`; empty for a syntax error.
        field: String,
        /// What is wrong, with the line where the format tells.
        message: String,
    },
    /// A value that is out of its range.
    OutOfRange {
        /// Where it is, such as `optimizer.beta_2`.
        field: String,
        /// The value.
        value: String,
        /// What would be allowed.
        allowed: String,
    },
}

impl fmt::Display for TrainingConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::UnknownFormat { path } => write!(
                f,
                "{}: a configuration is a file that ends in .toml or .json",
                path.display()
            ),
            Self::Parse { field, message } if field.is_empty() || field == "." => {
                f.write_str(message)
            }
            Self::Parse { field, message } => write!(f, "{field}: {message}"),
            Self::OutOfRange {
                field,
                value,
                allowed,
            } => write!(f, "{field} is {value}, expected {allowed}"),
        }
    }
}

impl core::error::Error for TrainingConfigError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
