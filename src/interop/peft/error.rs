use std::{
    io,
    path::{Path, PathBuf},
};

use burn::tensor::TensorReadError;

use crate::{interop::hf::TensorProblem, peft::PeftError};

/// Error when an adapter folder of peft cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeftFileError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// A file is damaged, or a field has no value of its kind.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The configuration asks for what this crate does not do.
    #[error("{path}: {field} is {found}, supported is {supported}")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What it has.
        found: String,
        /// What is supported.
        supported: String,
    },
    /// The configuration is invalid, or does not fit the model.
    #[error("{path}: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: PeftError,
    },
    /// peft has no such method.
    #[error("{path}: peft has no {method}: {instead}")]
    NotInPeft {
        /// The file.
        path: PathBuf,
        /// The method.
        method: &'static str,
        /// Alternative.
        instead: &'static str,
    },
    /// Tensors are missing, unknown, not of the shape and type that the model and the configuration say, or have values
    /// that are not finite.
    #[error("{path}: {}", listed(.problems))]
    Tensors {
        /// The file.
        path: PathBuf,
        /// Each of them.
        problems: Vec<TensorProblem>,
    },
    /// A module that trains as a whole has a parameter that peft does not know.
    #[error("modules_to_save: {path} trains, but has no name in files of peft")]
    NoName {
        /// Path of the parameter.
        path: String,
    },
    /// A device did not give the values away.
    #[error("cannot read a tensor back: {source}")]
    Device {
        /// Its reason.
        #[from]
        source: TensorReadError,
    },
}

impl PeftFileError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }

    pub(super) fn tensors(path: &Path, problems: Vec<TensorProblem>) -> Self {
        Self::Tensors {
            path: path.to_path_buf(),
            problems,
        }
    }

    pub(super) fn file(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::File {
            path: path.into(),
            reason: reason.to_string(),
        }
    }
}

/// Number of tensors that a message names.
const NAMED: usize = 3;

fn listed(problems: &[TensorProblem]) -> String {
    let named: Vec<String> = problems
        .iter()
        .take(NAMED)
        .map(ToString::to_string)
        .collect();
    let rest = problems.len().saturating_sub(NAMED);
    match rest {
        0 => named.join("; "),
        rest => format!("{}; and {rest} more", named.join("; ")),
    }
}
