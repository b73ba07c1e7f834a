use core::fmt;
use std::{
    io,
    path::{Path, PathBuf},
};

use burn::tensor::DType;

use super::TensorDifference;
use crate::qat::QuantizerSettings;

/// Error when a checkpoint cannot be written or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Failure of the operating system.
    #[error("{path}: {source}")]
    Io {
        /// Path of the file or folder.
        path: PathBuf,
        /// Cause of the failure.
        source: io::Error,
    },
    /// There is no checkpoint to resume from.
    #[error("there is no whole checkpoint in {folder}")]
    NoCheckpoint {
        /// Folder that was searched.
        folder: PathBuf,
    },
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
    /// The manifest is not one of this crate, or cannot be parsed.
    #[error("{path} is no checkpoint: {reason}")]
    NotACheckpoint {
        /// Path of the manifest.
        path: PathBuf,
        /// Reason.
        reason: String,
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
    /// A file is too short or too long.
    #[error("{path} has {found} bytes, expected {expected}")]
    Length {
        /// Path of the file.
        path: PathBuf,
        /// Expected length in bytes.
        expected: u64,
        /// Actual length in bytes.
        found: u64,
    },
    /// A file differs from what was written.
    #[error("{path} has the checksum {found:08x}, expected {expected:08x}")]
    Checksum {
        /// Path of the file.
        path: PathBuf,
        /// Expected CRC-32.
        expected: u32,
        /// Actual CRC-32.
        found: u32,
    },
    /// The checkpoint belongs to a model with other parameters.
    #[error("{path} is of another model: {difference}")]
    OtherModel {
        /// Path of the checkpoint.
        path: PathBuf,
        /// First parameter that differs.
        difference: Box<TensorDifference>,
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
    /// The optimizer keeps a state in the type of its parameter, but Burn loads it in another type.
    #[error(
        "the optimizer has its state of `{parameter}` in {dtype:?}, which Burn loads as \
         {loaded:?}: use an optimizer with states in {loaded:?}, such as a QatOptimizer with \
         stochastic rounding, or AdamW8bit"
    )]
    OptimizerState {
        /// Path of the parameter.
        parameter: String,
        /// Type of the parameter and its state.
        dtype: DType,
        /// Type in which Burn loads the state.
        loaded: DType,
    },
    /// Burn's checkpoints lack the step and the state of callbacks, which this training needs.
    #[error(
        "Burn's checkpoint of epoch {epoch} holds neither the step nor the state of callbacks: \
         resume with CallbackStrategy::with_checkpoints and a CheckpointPolicy"
    )]
    BurnCheckpoint {
        /// Requested epoch.
        epoch: usize,
    },
    /// The best checkpoint cannot be kept, as no epoch is validated to compare it by.
    #[error(
        "no checkpoint is the best by {metric:?} without checkpoints at the end of epochs: set \
         every_epoch"
    )]
    NoEpochs {
        /// Name of the metric.
        metric: String,
    },
    /// The best checkpoint cannot be kept, as the validation has no such metric.
    #[error("the best checkpoint cannot be kept: the validation has no numeric metric {metric:?}")]
    NoMetric {
        /// Name of the metric.
        metric: String,
    },
    /// The checkpoint was set aside when a training resumed from an earlier one.
    #[error(
        "{path} was set aside when the training resumed from an earlier step: rename it to {name} \
         to use it"
    )]
    Abandoned {
        /// Current path.
        path: PathBuf,
        /// Name to restore it under.
        name: String,
    },
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
    /// A callback cannot load its state in the checkpoint.
    #[error("the state of the callback `{callback}`: {reason}")]
    CallbackState {
        /// Name of the callback.
        callback: String,
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
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    pub(super) fn record(path: &Path, reason: impl fmt::Display) -> Self {
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
