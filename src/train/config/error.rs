use std::path::PathBuf;

use crate::base::{bounds::OutOfBounds, file_error::FileError};

/// Error when a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainingConfigError {
    /// Failure of the operating system.
    #[error(transparent)]
    Io(#[from] FileError),
    /// The file name ends in neither `.toml` nor `.json`.
    #[error("{path}: a configuration is a file that ends in .toml or .json")]
    UnknownFormat {
        /// Path of the file.
        path: PathBuf,
    },
    /// The text is not a valid configuration: a syntax error, an unknown field, or an invalid
    /// value.
    #[error("{}{message}", place(.field))]
    Parse {
        /// Path of the field, such as `qat.weight.symmetric.bits`; empty for a syntax error.
        field: String,
        /// Reason, with the line if the format reports it.
        message: String,
    },
    /// A value is out of range.
    #[error(transparent)]
    OutOfRange(#[from] OutOfBounds),
    /// All parameters of the model are frozen.
    #[error(
        "no parameter of the model trains: all are frozen, unfreeze those that are to train (Module::unfreeze_group) or \
         add an adapter (BitNetLm::with_adapter)"
    )]
    NothingTrains,
    /// The model has no gradient checkpointing.
    #[error(
        "training.gradient_checkpointing must be false for a model without it, got true: turn it on in the model \
         (LanguageModel::with_gradient_checkpointing); other models and a Distiller have none"
    )]
    NoGradientCheckpointing,
    /// The configuration of adapters is invalid.
    #[cfg(feature = "peft")]
    #[error("peft: {0}")]
    Peft(#[from] crate::peft::PeftError),
}

/// Returns the field as the prefix of a message, if there is one.
fn place(field: &str) -> String {
    match field {
        "" | "." => String::new(),
        field => format!("{field}: "),
    }
}
