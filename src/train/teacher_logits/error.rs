use core::fmt::Display;
use std::path::Path;

use burn::tensor::TensorReadError;

use crate::base::file_error::FileError;

/// Error when a file of teacher logits cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TeacherLogitsError {
    /// Failure of the operating system.
    #[error(transparent)]
    Io(#[from] FileError),
    /// The logits could not be read back from the device.
    #[error("the teacher's logits cannot be read: {0}")]
    Device(#[from] TensorReadError),
    /// The file type cannot hold a logit: NaN, infinity, or too large for `f16`.
    #[error(
        "example {example}, position {position}: expected a logit that the file's type holds, \
         found {value}"
    )]
    Unstorable {
        /// Number of the example.
        example: u64,
        /// Position in the example.
        position: usize,
        /// Value of the logit.
        value: f32,
    },
    /// The file is damaged, or belongs to another teacher, data set or format than expected.
    #[error("{place}: expected {expected}, found {found}")]
    Content {
        /// Path of the file, and the part of it: the header, or an example.
        place: String,
        /// Contents that the reader expects.
        expected: String,
        /// Contents of the file.
        found: String,
    },
}

impl TeacherLogitsError {
    /// Creates the error of a content of the whole file.
    pub(super) fn of_file(path: &Path, expected: impl Display, found: impl Display) -> Self {
        Self::Content {
            place: path.display().to_string(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// Creates the error of a content of the header, or of an example.
    pub(super) fn of_part(
        path: &Path,
        part: &str,
        expected: impl Display,
        found: impl Display,
    ) -> Self {
        Self::Content {
            place: format!("{}, {part}", path.display()),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }
}
