use std::{
    io,
    path::{Path, PathBuf},
};

/// Failure of the operating system with a file or folder.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct FileError {
    /// Path of the file or folder.
    pub path: PathBuf,
    /// Cause of the failure.
    pub source: io::Error,
}

impl FileError {
    /// Returns a function that adds the path to a failure.
    pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> Self {
        |source| Self {
            path: path.to_path_buf(),
            source,
        }
    }
}
