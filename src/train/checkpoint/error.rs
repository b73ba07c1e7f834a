use core::fmt;
use std::{
    io,
    path::{Path, PathBuf},
};

use burn::tensor::DType;

use super::TensorDifference;
use crate::qat::QuantizerSettings;

/// Why a checkpoint cannot be written or used.
#[derive(Debug)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// There is no checkpoint to go on from.
    NoCheckpoint {
        /// The folder that was looked into.
        folder: PathBuf,
    },
    /// A new training would write into the checkpoints of another.
    FolderInUse {
        /// The folder.
        folder: PathBuf,
        /// The newest step in it.
        step: usize,
    },
    /// The manifest is not one of this crate, or cannot be read as one.
    NotACheckpoint {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The checkpoint was written by a newer or an older version.
    OtherVersion {
        /// The manifest.
        path: PathBuf,
        /// The version that is read.
        supported: u64,
        /// The version of the file.
        found: u64,
    },
    /// A file ends too early or too late.
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// A file is not what was written.
    Checksum {
        /// The file.
        path: PathBuf,
        /// CRC-32 that it should have.
        expected: u32,
        /// CRC-32 that it has.
        found: u32,
    },
    /// The checkpoint is of a model with other parameters.
    OtherModel {
        /// The checkpoint.
        path: PathBuf,
        /// The first parameter that differs.
        difference: Box<TensorDifference>,
    },
    /// The checkpoint is of a model that is quantized in another way.
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
    OptimizerState {
        /// The parameter.
        parameter: String,
        /// The type of both.
        dtype: DType,
        /// The type in which Burn loads it.
        loaded: DType,
    },
    /// Burn's checkpoints hold neither the step nor the state of callbacks, which this training needs.
    BurnCheckpoint {
        /// The epoch that was asked for.
        epoch: usize,
    },
    /// The best checkpoint cannot be kept, as there is no epoch's validation to judge it by.
    NoEpochs {
        /// The metric.
        metric: String,
    },
    /// The best checkpoint cannot be kept, as the validation has no such metric.
    NoMetric {
        /// The metric.
        metric: String,
    },
    /// The checkpoint was set aside when a training went on from an earlier one.
    Abandoned {
        /// Where it lies.
        path: PathBuf,
        /// The name that brings it back.
        name: String,
    },
    /// The checkpoint is of a run with another [fingerprint](super::CheckpointPolicy::fingerprint).
    OtherRun {
        /// The manifest.
        path: PathBuf,
        /// The fingerprint of this run.
        expected: String,
        /// That of the checkpoint.
        found: String,
    },
    /// A record cannot be written or read.
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A callback cannot use what the checkpoint holds for it.
    CallbackState {
        /// Name of the callback.
        callback: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The checkpoint that was asked for cannot be used; another can.
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

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::NoCheckpoint { folder } => {
                write!(f, "there is no whole checkpoint in {}", folder.display())
            }
            Self::FolderInUse { folder, step } => write!(
                f,
                "{} holds checkpoints of an earlier training up to step {step}: resume it, or choose \
                 another folder",
                folder.display()
            ),
            Self::NotACheckpoint { path, reason } => {
                write!(f, "{} is no checkpoint: {reason}", path.display())
            }
            Self::OtherVersion {
                path,
                supported,
                found,
            } => write!(
                f,
                "{} has version {found}, this program reads version {supported}: go on with the program \
                 that wrote it, or choose another folder",
                path.display()
            ),
            Self::Length {
                path,
                expected,
                found,
            } => write!(
                f,
                "{} has {found} bytes, expected {expected}",
                path.display()
            ),
            Self::Checksum {
                path,
                expected,
                found,
            } => write!(
                f,
                "{} has the checksum {found:08x}, expected {expected:08x}",
                path.display()
            ),
            Self::OtherModel { path, difference } => {
                write!(f, "{} is of another model: {difference}", path.display())
            }
            Self::OtherQuantizer {
                path,
                quantizer,
                expected,
                found,
            } => write!(
                f,
                "{} is of a training with another scheme: expected {expected} at `{quantizer}`, found \
                 {found}",
                path.display()
            ),
            Self::OptimizerState {
                parameter,
                dtype,
                loaded,
            } => write!(
                f,
                "the optimizer has its state of `{parameter}` in {dtype:?}, which Burn loads as \
                 {loaded:?}: use an optimizer with states in {loaded:?}, such as a QatOptimizer with \
                 stochastic rounding, or AdamW8bit"
            ),
            Self::BurnCheckpoint { epoch } => write!(
                f,
                "Burn's checkpoint of epoch {epoch} holds neither the step nor the state of \
                 callbacks: resume with CallbackStrategy::with_checkpoints and a CheckpointPolicy"
            ),
            Self::NoEpochs { metric } => write!(
                f,
                "no checkpoint is the best by {metric:?} without checkpoints at the end of epochs: \
                 set every_epoch"
            ),
            Self::NoMetric { metric } => write!(
                f,
                "the best checkpoint cannot be kept: the validation has no numeric metric {metric:?}"
            ),
            Self::Abandoned { path, name } => write!(
                f,
                "{} was set aside when the training went on from an earlier step: rename it to {name} \
                 to use it",
                path.display()
            ),
            Self::OtherRun {
                path,
                expected,
                found,
            } => write!(
                f,
                "{} is of another run: expected {expected:?}, found {found:?}",
                path.display()
            ),
            Self::Record { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::CallbackState { callback, reason } => {
                write!(f, "the state of the callback `{callback}`: {reason}")
            }
            Self::Refused {
                step,
                source,
                previous,
            } => {
                write!(
                    f,
                    "the checkpoint of step {step} cannot be used: {source}; "
                )?;
                match previous {
                    Some(step) => write!(f, "that of step {step} is whole"),
                    None => write!(f, "there is no other"),
                }
            }
        }
    }
}

impl core::error::Error for CheckpointError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Refused { source, .. } => Some(source),
            _ => None,
        }
    }
}
