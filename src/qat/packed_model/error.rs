use core::fmt;
use std::{
    io,
    path::{Path, PathBuf},
};

use burn::store::RecordError;

/// Why a packed model cannot be saved, loaded or used in a model.
#[derive(Debug)]
#[non_exhaustive]
pub enum PackedModelError {
    /// The operating system refused.
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// The file is not a packed model of this crate.
    NotAPackedModel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer version wrote the file.
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// The newest version that is read.
        supported: u64,
        /// The version of the file.
        found: u64,
    },
    /// A tensor of the file is not what the file says.
    Tensor {
        /// The file.
        path: PathBuf,
        /// Path of the parameter.
        tensor: String,
        /// What was expected, and found.
        reason: String,
    },
    /// The tensors could not be read from their device.
    Device {
        /// What the device says.
        reason: String,
    },
    /// The model has other parameters than the packed one.
    OtherModel {
        /// Parameters of the model that the packed one does not have.
        missing: Vec<String>,
        /// Parameters of the packed one that the model does not have.
        unused: Vec<String>,
    },
    /// A parameter of the model has another shape.
    Shape {
        /// Path of the parameter.
        path: String,
        /// The shape that was packed.
        expected: Vec<usize>,
        /// That of the parameter.
        found: Vec<usize>,
    },
    /// The model is prepared for training, or has adapters.
    Reparameterized {
        /// The first such parameter.
        path: String,
        /// Name of its reparameterization.
        name: String,
    },
    /// A tensor that is not packed does not fit.
    Record(RecordError),
}

impl PackedModelError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }
}

/// The first few of a list, and how many there are.
fn few(paths: &[String]) -> String {
    match paths {
        [] => "none".to_string(),
        paths if paths.len() <= 3 => paths.join(", "),
        paths => format!("{}, .. ({} in all)", paths[..3].join(", "), paths.len()),
    }
}

impl fmt::Display for PackedModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::NotAPackedModel { path, reason } => {
                write!(f, "{} is no packed model: {reason}", path.display())
            }
            Self::NewerVersion {
                path,
                supported,
                found,
            } => write!(
                f,
                "{} has version {found}, this program reads versions up to {supported}",
                path.display()
            ),
            Self::Tensor {
                path,
                tensor,
                reason,
            } => write!(f, "{}, `{tensor}`: {reason}", path.display()),
            Self::Device { reason } => write!(f, "the device does not give the tensors: {reason}"),
            Self::OtherModel { missing, unused } => write!(
                f,
                "the packed model is of another model: without {}; with {} that this one does not have",
                few(missing),
                few(unused)
            ),
            Self::Shape {
                path,
                expected,
                found,
            } => write!(
                f,
                "parameter {path} was packed with shape {expected:?}, that of the model has {found:?}"
            ),
            Self::Reparameterized { path, name } => write!(
                f,
                "parameter {path} has the reparameterization {name}: load a packed model into a new \
                 model, not into a prepared one"
            ),
            Self::Record(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for PackedModelError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Record(source) => Some(source),
            _ => None,
        }
    }
}
