use std::{io, path::PathBuf};

use crate::base::bounds::OutOfBounds;

/// Error when a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainingConfigError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// The name of a file tells neither TOML nor JSON.
    #[error("{path}: a configuration is a file that ends in .toml or .json")]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The text is no configuration: a syntax error, an unknown field, or a value that its field
    /// does not take.
    #[error("{}{message}", place(.field))]
    Parse {
        /// Where it is, such as `qat.weight.symmetric.bits`; empty for a syntax error.
        field: String,
        /// What is wrong, with the line where the format tells.
        message: String,
    },
    /// A value that is out of its range.
    #[error(transparent)]
    OutOfRange(#[from] OutOfBounds),
}

/// The field before a message, where there is one.
fn place(field: &str) -> String {
    match field {
        "" | "." => String::new(),
        field => format!("{field}: "),
    }
}
