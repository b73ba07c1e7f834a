use std::{
    io,
    path::{Path, PathBuf},
};

use burn::store::RecordError;

/// Error when a packed model cannot be saved, loaded or used in a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackedModelError {
    /// The file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file is not a packed model of this crate.
    #[error("{path} is no packed model: {reason}")]
    NotAPackedModel {
        /// The file.
        path: PathBuf,
        /// Description of the problem.
        reason: String,
    },
    /// The file was written by a newer version.
    #[error("{path} has version {found}, this program reads versions up to {supported}")]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// The newest version that can be read.
        supported: u64,
        /// The version of the file.
        found: u64,
    },
    /// A tensor of the file does not match its description.
    #[error("{path}, `{tensor}`: {reason}")]
    Tensor {
        /// The file.
        path: PathBuf,
        /// Path of the parameter.
        tensor: String,
        /// The expected and the found value.
        reason: String,
    },
    /// The tensors could not be read back from their device.
    #[error("the tensors could not be read back from the device: {reason}")]
    Device {
        /// Error of the device.
        reason: String,
    },
    /// The model has other parameters than the packed one.
    #[error(
        "the packed model is of another model: without {}; with {} that this one does not have",
        few(.missing),
        few(.unused)
    )]
    OtherModel {
        /// Parameters of the model that are not in the packed one.
        missing: Vec<String>,
        /// Parameters of the packed one that are not in the model.
        unused: Vec<String>,
    },
    /// A parameter of the model has another shape.
    #[error("parameter {path} was packed with shape {expected:?}, that of the model has {found:?}")]
    Shape {
        /// Path of the parameter.
        path: String,
        /// The shape that was packed.
        expected: Vec<usize>,
        /// The shape of the parameter.
        found: Vec<usize>,
    },
    /// The model is prepared for training, or has adapters.
    #[error(
        "parameter {path} has the reparameterization {name}: load a packed model into a new model, \
         not into a prepared one"
    )]
    Reparameterized {
        /// The first such parameter.
        path: String,
        /// Name of its reparameterization.
        name: String,
    },
    /// A tensor that is not packed does not fit.
    #[error("{0}")]
    Record(#[source] RecordError),
}

impl PackedModelError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    /// Returns an error for a file that is no packed model.
    pub(super) fn foreign(path: &Path, reason: impl ToString) -> Self {
        Self::NotAPackedModel {
            path: path.to_path_buf(),
            reason: reason.to_string(),
        }
    }

    /// Returns an error for tensors that could not be read back.
    pub(super) fn device<E: ToString>(reason: E) -> Self {
        let reason = reason.to_string();
        Self::Device { reason }
    }
}

/// Returns the first few of a list, and their total number.
fn few(paths: &[String]) -> String {
    match paths {
        [] => "none".to_string(),
        paths if paths.len() <= 3 => paths.join(", "),
        paths => format!("{}, .. ({} in all)", paths[..3].join(", "), paths.len()),
    }
}
