use core::fmt;
use std::{
    io,
    path::{Path, PathBuf},
};

use burn::tensor::{FloatDType, TensorReadError};

use crate::interop::parameters::NotFinite;

/// Why a folder of Hugging Face cannot be read or written.
#[derive(Debug)]
#[non_exhaustive]
pub enum HfError {
    /// The operating system refused.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// A JSON file cannot be read, or says what cannot be.
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The model does something that this crate has no layer for.
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
    /// A file of tensors is damaged, or none.
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Tensors are missing, unknown, not of the shape and type that the configuration says, or have values
    /// that they cannot have. The message names the first few, the value has all.
    Tensors {
        /// The folder.
        folder: PathBuf,
        /// Each of them.
        problems: Vec<TensorProblem>,
    },
    /// No tensor has a name of the architecture.
    TensorNames {
        /// The folder.
        folder: PathBuf,
        /// The first name in the files.
        found: String,
        /// A name of the architecture.
        expected: String,
    },
    /// The weights are packed, and nothing says if their scale multiplies or divides.
    UnknownScaleConvention {
        /// The file that should say it.
        path: PathBuf,
    },
    /// The model cannot be written in this form.
    Unwritable {
        /// Why, and what to do.
        reason: String,
    },
    /// There is something where the folder should go.
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The device has no tensors of a type.
    DeviceType {
        /// The type.
        dtype: FloatDType,
    },
    /// A device did not give the values away.
    Device {
        /// Its reason.
        source: TensorReadError,
    },
}

/// What is wrong with one tensor.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum TensorProblem {
    /// The configuration asks for it.
    Missing {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The configuration does not know it.
    Unexpected {
        /// Its name.
        name: String,
    },
    /// It has another shape.
    Shape {
        /// Its name.
        name: String,
        /// Shape by the configuration.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// It has another type.
    DType {
        /// Its name.
        name: String,
        /// Types that it may have.
        expected: &'static str,
        /// Type in the file.
        found: String,
    },
    /// It has a value that it cannot have.
    Value {
        /// Its name.
        name: String,
        /// Which.
        reason: String,
    },
    /// The index says that it is in a file that does not have it.
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

    pub(super) fn config(path: &Path, reason: impl fmt::Display) -> Self {
        Self::Config {
            path: path.to_path_buf(),
            reason: reason.to_string(),
        }
    }

    pub(super) fn file(path: &Path, reason: impl fmt::Display) -> Self {
        Self::File {
            path: path.to_path_buf(),
            reason: reason.to_string(),
        }
    }

    pub(super) fn unwritable(reason: impl Into<String>) -> Self {
        Self::Unwritable {
            reason: reason.into(),
        }
    }
}

impl From<NotFinite> for HfError {
    fn from(value: NotFinite) -> Self {
        Self::unwritable(value.to_string())
    }
}

impl From<TensorReadError> for HfError {
    fn from(source: TensorReadError) -> Self {
        Self::Device { source }
    }
}

impl fmt::Display for HfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Config { path, reason } | Self::File { path, reason } => {
                write!(f, "{}: {reason}", path.display())
            }
            Self::Unsupported {
                path,
                field,
                found,
                supported,
            } => write!(
                f,
                "{}: {field} is {found}, supported is {supported}",
                path.display()
            ),
            Self::Tensors { folder, problems } => {
                const SHOWN: usize = 3;
                let (n, folder) = (problems.len(), folder.display());
                match n {
                    1 => write!(f, "{folder}: 1 tensor is not as the configuration says: ")?,
                    _ => write!(
                        f,
                        "{folder}: {n} tensors are not as the configuration says: "
                    )?,
                }
                for (i, problem) in problems.iter().take(SHOWN).enumerate() {
                    let separator = if i == 0 { "" } else { "; " };
                    write!(f, "{separator}{problem}")?;
                }
                match n.saturating_sub(SHOWN) {
                    0 => Ok(()),
                    more => write!(f, "; and {more} more"),
                }
            }
            Self::TensorNames {
                folder,
                found,
                expected,
            } => write!(
                f,
                "{}: no tensor has a name of this architecture, expected names such as {expected}, found \
                 {found}",
                folder.display()
            ),
            Self::UnknownScaleConvention { path } => write!(
                f,
                "{}: the weights are packed and no quantization_config.linear_class says whether \
                 weight_scale multiplies (autobitlinear) or divides (bitlinear); say it with \
                 LoadOptions::scale_convention",
                path.display()
            ),
            Self::Unwritable { reason } => f.write_str(reason),
            Self::Exists { path } => write!(
                f,
                "{} exists and is not empty: choose another folder, or allow to overwrite it",
                path.display()
            ),
            Self::DeviceType { dtype } => write!(
                f,
                "the device has no tensors of {dtype:?}: choose F32 with LoadOptions::dtype"
            ),
            Self::Device { source } => write!(f, "cannot read a tensor back: {source}"),
        }
    }
}

impl fmt::Display for TensorProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name, shape } => write!(f, "{name}: missing, expected {shape:?}"),
            Self::Unexpected { name } => write!(f, "{name}: not part of this architecture"),
            Self::Shape {
                name,
                expected,
                found,
            } => write!(f, "{name}: expected shape {expected:?}, found {found:?}"),
            Self::DType {
                name,
                expected,
                found,
            } => write!(f, "{name}: expected {expected}, found {found}"),
            Self::Value { name, reason } => write!(f, "{name}: {reason}"),
            Self::NotInShard { name, shard } => {
                write!(
                    f,
                    "{name}: the index says it is in {shard}, where it is not"
                )
            }
        }
    }
}

impl std::error::Error for HfError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Device { source } => Some(source),
            _ => None,
        }
    }
}
