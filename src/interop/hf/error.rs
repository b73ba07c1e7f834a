use core::fmt;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use burn::tensor::{FloatDType, TensorReadError};
use serde::de::DeserializeOwned;

use crate::interop::json_text::located;

/// Error when a folder of Hugging Face cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HfError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// The model does something that this crate has no layer for.
    #[error("{path}: {field} is {found}, supported is {supported}")]
    Unsupported {
        /// The file that says so.
        path: PathBuf,
        /// The field.
        field: String,
        /// What it has.
        found: String,
        /// What is supported.
        supported: String,
    },
    /// A file is damaged, or says what cannot be.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Tensors are missing, unknown, not of the shape and type that the configuration says, or have values
    /// that they cannot have. The message names the first few, the value has all.
    #[error("{folder}: {}", listed(.problems))]
    Tensors {
        /// The folder.
        folder: PathBuf,
        /// Each of them.
        problems: Vec<TensorProblem>,
    },
    /// No tensor has a name of the architecture.
    #[error(
        "{folder}: no tensor has a name of this architecture, expected names such as {expected}, \
         found {found}"
    )]
    TensorNames {
        /// The folder.
        folder: PathBuf,
        /// The first name in the files.
        found: String,
        /// A name of the architecture.
        expected: String,
    },
    /// The weights are packed, and nothing says if their scale multiplies or divides.
    #[error(
        "{path}: the weights are packed and no quantization_config.linear_class says whether \
         weight_scale multiplies (autobitlinear) or divides (bitlinear); say it with \
         LoadOptions::with_scale_convention"
    )]
    UnknownScaleConvention {
        /// The file that should say it.
        path: PathBuf,
    },
    /// The model cannot be written in this form.
    #[error("{reason}")]
    Unwritable {
        /// Why, and what to do.
        reason: String,
    },
    /// There is something where the folder should go.
    #[error("{path} exists and is not empty: choose another folder, or allow to overwrite it")]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The device has no tensors of a type.
    #[error("the device has no tensors of {dtype:?}: choose F32 with LoadOptions::with_dtype")]
    DeviceType {
        /// The type.
        dtype: FloatDType,
    },
    /// A device did not give the values away.
    #[error("cannot read a tensor back: {source}")]
    Device {
        /// Its reason.
        #[from]
        source: TensorReadError,
    },
}

/// Error when a tensor is not as the configuration says.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorProblem {
    /// The configuration asks for it.
    #[error("{name}: missing, expected {shape:?}")]
    Missing {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The configuration does not know it.
    #[error("{name}: not part of this architecture")]
    Unexpected {
        /// Its name.
        name: String,
    },
    /// It has another shape.
    #[error("{name}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// Its name.
        name: String,
        /// Shape by the configuration.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// It has another type.
    #[error("{name}: expected {expected}, found {found}")]
    DType {
        /// Its name.
        name: String,
        /// Types that it may have.
        expected: &'static str,
        /// Type in the file.
        found: String,
    },
    /// It has a value that it cannot have.
    #[error("{name}: {reason}")]
    Value {
        /// Its name.
        name: String,
        /// Which.
        reason: String,
    },
    /// The index says that it is in a file that does not have it.
    #[error("{name}: the index says it is in {shard}, where it is not")]
    NotInShard {
        /// Its name.
        name: String,
        /// The file.
        shard: String,
    },
}

impl HfError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }

    pub(super) fn file(path: &Path, reason: impl fmt::Display) -> Self {
        Self::File {
            path: path.to_path_buf(),
            reason: reason.to_string(),
        }
    }

    pub(super) fn unsupported(
        path: &Path,
        field: &str,
        found: impl fmt::Display,
        supported: impl fmt::Display,
    ) -> Self {
        Self::Unsupported {
            path: path.to_path_buf(),
            field: field.to_string(),
            found: found.to_string(),
            supported: supported.to_string(),
        }
    }

    /// Fails if there are problems.
    pub(super) fn check(folder: &Path, problems: Vec<TensorProblem>) -> Result<(), Self> {
        match problems.is_empty() {
            true => Ok(()),
            false => Err(Self::Tensors {
                folder: folder.to_path_buf(),
                problems,
            }),
        }
    }

    /// A value of a tensor that is NaN or infinite.
    pub(super) fn not_finite(name: &str, (place, value): (usize, f32)) -> Self {
        Self::unwritable(format!(
            "{name}: value {place} is {value}, where a finite number is expected"
        ))
    }

    pub(super) fn unwritable(reason: impl Into<String>) -> Self {
        Self::Unwritable {
            reason: reason.into(),
        }
    }
}

/// Reads a JSON file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, HfError> {
    let json = fs::read(path).map_err(HfError::io(path))?;
    serde_json::from_slice(&json).map_err(|error| HfError::file(path, located(&error, &json)))
}

/// The number of problems, and the first few.
fn listed(problems: &[TensorProblem]) -> String {
    const SHOWN: usize = 3;
    let subject = match problems.len() {
        1 => "1 tensor is".to_string(),
        n => format!("{n} tensors are"),
    };
    let first: Vec<String> = problems.iter().take(SHOWN).map(|p| p.to_string()).collect();
    let rest = match problems.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let first = first.join("; ");
    format!("{subject} not as the configuration says: {first}{rest}")
}
