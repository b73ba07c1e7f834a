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
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// There is no checkpoint to go on from.
    #[error("there is no whole checkpoint in {folder}")]
    NoCheckpoint {
        /// The folder that was looked into.
        folder: PathBuf,
    },
    /// A new training would write into the checkpoints of another.
    #[error(
        "{folder} holds checkpoints of an earlier training up to step {step}: resume it, or choose \
         another folder"
    )]
    FolderInUse {
        /// The folder.
        folder: PathBuf,
        /// The newest step in it.
        step: usize,
    },
    /// The manifest is not one of this crate, or cannot be read as one.
    #[error("{path} is no checkpoint: {reason}")]
    NotACheckpoint {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The checkpoint was written by a newer or an older version.
    #[error(
        "{path} has version {found}, this program reads version {supported}: go on with the \
         program that wrote it, or choose another folder"
    )]
    OtherVersion {
        /// The manifest.
        path: PathBuf,
        /// The version that is read.
        supported: u64,
        /// The version of the file.
        found: u64,
    },
    /// A file ends too early or too late.
    #[error("{path} has {found} bytes, expected {expected}")]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// A file is not what was written.
    #[error("{path} has the checksum {found:08x}, expected {expected:08x}")]
    Checksum {
        /// The file.
        path: PathBuf,
        /// CRC-32 that it should have.
        expected: u32,
        /// CRC-32 that it has.
        found: u32,
    },
    /// The checkpoint is of a model with other parameters.
    #[error("{path} is of another model: {difference}")]
    OtherModel {
        /// The checkpoint.
        path: PathBuf,
        /// The first parameter that differs.
        difference: Box<TensorDifference>,
    },
    /// The checkpoint is of a model that is quantized in another way.
    #[error(
        "{path} is of a training with another scheme: expected {expected} at `{quantizer}`, found \
         {found}"
    )]
    OtherQuantizer {
        /// The checkpoint.
        path: PathBuf,
        /// The first quantizer that differs.
        quantizer: String,
        /// What it is in the model.
        expected: Box<QuantizerSettings>,
        /// What it is in the checkpoint.
        found: Box<QuantizerSettings>,
    },
    /// The optimizer keeps a state in the type of its parameter, and Burn loads it in another.
    #[error(
        "the optimizer has its state of `{parameter}` in {dtype:?}, which Burn loads as \
         {loaded:?}: use an optimizer with states in {loaded:?}, such as a QatOptimizer with \
         stochastic rounding, or AdamW8bit"
    )]
    OptimizerState {
        /// The parameter.
        parameter: String,
        /// The type of both.
        dtype: DType,
        /// The type in which Burn loads it.
        loaded: DType,
    },
    /// Burn's checkpoints hold neither the step nor the state of callbacks, which this training needs.
    #[error(
        "Burn's checkpoint of epoch {epoch} holds neither the step nor the state of callbacks: \
         resume with CallbackStrategy::with_checkpoints and a CheckpointPolicy"
    )]
    BurnCheckpoint {
        /// The epoch that was asked for.
        epoch: usize,
    },
    /// The best checkpoint cannot be kept, as there is no epoch's validation to judge it by.
    #[error(
        "no checkpoint is the best by {metric:?} without checkpoints at the end of epochs: set \
         every_epoch"
    )]
    NoEpochs {
        /// The metric.
        metric: String,
    },
    /// The best checkpoint cannot be kept, as the validation has no such metric.
    #[error("the best checkpoint cannot be kept: the validation has no numeric metric {metric:?}")]
    NoMetric {
        /// The metric.
        metric: String,
    },
    /// The checkpoint was set aside when a training went on from an earlier one.
    #[error(
        "{path} was set aside when the training went on from an earlier step: rename it to {name} \
         to use it"
    )]
    Abandoned {
        /// Where it lies.
        path: PathBuf,
        /// The name that brings it back.
        name: String,
    },
    /// The checkpoint is of a run with another [fingerprint](super::CheckpointPolicy::fingerprint).
    #[error("{path} is of another run: expected {expected:?}, found {found:?}")]
    OtherRun {
        /// The manifest.
        path: PathBuf,
        /// The fingerprint of this run.
        expected: String,
        /// That of the checkpoint.
        found: String,
    },
    /// A record cannot be written or read.
    #[error("{path}: {reason}")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A callback cannot use what the checkpoint holds for it.
    #[error("the state of the callback `{callback}`: {reason}")]
    CallbackState {
        /// Name of the callback.
        callback: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The checkpoint that was asked for cannot be used; another can.
    #[error("the checkpoint of step {step} cannot be used: {source}; {}", alternative(.previous))]
    Refused {
        /// The step that was asked for.
        step: usize,
        /// Why it cannot be used.
        source: Box<CheckpointError>,
        /// The newest step whose checkpoint is whole.
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
