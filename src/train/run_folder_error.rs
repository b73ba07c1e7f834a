use std::{
    io,
    path::{Path, PathBuf},
};

use super::checkpoint::CheckpointError;

/// Error of a [`RunFolder`](super::RunFolder).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunFolderError {
    /// Failure of the operating system.
    #[error("{path}: {source}")]
    Io {
        /// Path of the file or folder.
        path: PathBuf,
        /// Cause of the failure.
        source: io::Error,
    },
    /// The folder has files of another run.
    #[error(
        "{path} belongs to an earlier run: continue it with RunFolder::resume, replace it with \
         RunFolder::overwrite, or choose another folder with RunFolder::new"
    )]
    InUse {
        /// Path of the first file.
        path: PathBuf,
    },
    /// There is no checkpoint to resume from.
    #[error(
        "{path}: expected a complete checkpoint to resume from, found none: start without \
         RunFolder::resume"
    )]
    NoCheckpoint {
        /// Path of the checkpoints.
        path: PathBuf,
    },
    /// The checkpoints cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The run is resumed with other settings than it began with.
    #[error(
        "RunFolder::resume: expected the settings that the run began with, found that {changes}: keep them, \
         or start a new run in another folder"
    )]
    OtherSettings {
        /// Names of the settings, with both values.
        changes: String,
    },
}

impl RunFolderError {
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }
}
