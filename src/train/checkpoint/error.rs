use core::fmt;
use std::path::{Path, PathBuf};

use super::TensorDifference;
use crate::{base::file_error::FileError, qat::QuantizerSettings};

/// Error when a checkpoint cannot be written or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Failure of the operating system.
    #[error(transparent)]
    Io(#[from] FileError),
    /// A new training would write into the checkpoints of another.
    #[error(
        "{folder} holds checkpoints of an earlier training up to step {step}: resume it, or choose \
         another folder"
    )]
    FolderInUse {
        /// Folder.
        folder: PathBuf,
        /// Last step in it.
        step: usize,
    },
    /// The checkpoint was written by a newer or older version.
    #[error(
        "{path} has version {found}, this program reads version {supported}: continue with the \
         program that wrote it, or choose another folder"
    )]
    OtherVersion {
        /// Path of the manifest.
        path: PathBuf,
        /// Supported version.
        supported: u64,
        /// Version of the file.
        found: u64,
    },
    /// A file is not one of a checkpoint, or differs from what was written.
    #[error("{path} {reason}")]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// Reason, with the expected and the found length, checksum or format.
        reason: String,
    },
    /// The checkpoint belongs to a model with other parameters.
    #[error("{path} is of another model: {difference}")]
    OtherModel {
        /// Path of the checkpoint.
        path: PathBuf,
        /// First parameter that differs.
        difference: Box<TensorDifference>,
    },
    /// The checkpoint leaves out parameters that do not train, and the model has other values in one.
    #[error(
        "{path} leaves out `{parameter}`, which does not train, and the model has other values there: resume with \
         the model that the training began with"
    )]
    OtherFrozen {
        /// Path of the checkpoint.
        path: PathBuf,
        /// First parameter with other values.
        parameter: String,
    },
    /// The checkpoint belongs to a model with another quantization.
    #[error(
        "{path} is of a training with another scheme: expected {expected} at `{quantizer}`, found \
         {found}"
    )]
    OtherQuantizer {
        /// Path of the checkpoint.
        path: PathBuf,
        /// First quantizer that differs.
        quantizer: String,
        /// Settings in the model.
        expected: Box<QuantizerSettings>,
        /// Settings in the checkpoint.
        found: Box<QuantizerSettings>,
    },
    /// There is no such checkpoint, its states do not fit the optimizer or a callback of the training, or
    /// the best one cannot be known.
    #[error("{0}")]
    Request(String),
    /// The checkpoint belongs to a run with another
    /// [fingerprint](super::CheckpointPolicy::fingerprint).
    #[error("{path} is of another run: expected {expected:?}, found {found:?}")]
    OtherRun {
        /// Path of the manifest.
        path: PathBuf,
        /// Fingerprint of this run.
        expected: String,
        /// Fingerprint of the checkpoint.
        found: String,
    },
    /// A record cannot be written or read.
    #[error("{path}: {reason}")]
    Record {
        /// Path of the file.
        path: PathBuf,
        /// Reason.
        reason: String,
    },
    /// The requested checkpoint cannot be used, and which other can.
    #[error("the checkpoint of step {step} cannot be used: {source}; {}", alternative(.previous))]
    Refused {
        /// Requested step.
        step: usize,
        /// Reason.
        source: Box<CheckpointError>,
        /// Last step with a complete checkpoint.
        previous: Option<usize>,
    },
}

impl CheckpointError {
    pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_path_buf(),
            reason: reason.into(),
        }
    }

    pub(in crate::train) fn record(path: &Path, reason: impl fmt::Display) -> Self {
        Self::Record {
            path: path.to_path_buf(),
            reason: reason.to_string(),
        }
    }
}

fn alternative(previous: &Option<usize>) -> String {
    match previous {
        Some(step) => format!("that of step {step} is whole"),
        None => "there is no other".to_string(),
    }
}
