use std::{
    io,
    path::{Path, PathBuf},
};

use burn::tensor::TensorReadError;

/// Error when a file of teacher logits cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TeacherLogitsError {
    /// Failure of the operating system.
    #[error("{path}: {source}")]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure.
        source: io::Error,
    },
    /// The logits could not be read back from the device.
    #[error("the teacher's logits cannot be read: {source}")]
    Device {
        /// Cause of the failure.
        source: TensorReadError,
    },
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
    /// The file does not start like a file of teacher logits.
    #[error(
        "{path}: expected a file of teacher logits, found one that begins with {}",
        .found.escape_ascii()
    )]
    OtherKind {
        /// Path of the file.
        path: PathBuf,
        /// First bytes of the file.
        found: Vec<u8>,
    },
    /// The format version of the file is not supported.
    #[error("{path}: expected version {expected} of the format, found version {found}")]
    Version {
        /// Path of the file.
        path: PathBuf,
        /// Supported version.
        expected: u32,
        /// Version of the file.
        found: u32,
    },
    /// The file is too short or too long.
    #[error("{path}: expected {expected} bytes, found {found}")]
    Length {
        /// Path of the file.
        path: PathBuf,
        /// Expected length in bytes.
        expected: u64,
        /// Actual length in bytes.
        found: u64,
    },
    /// A checksum does not match.
    #[error("{path}, {place}: expected checksum {expected:08x}, found {found:08x}")]
    Checksum {
        /// Path of the file.
        path: PathBuf,
        /// Damaged part: the header, or an example.
        place: String,
        /// Checksum of the bytes.
        expected: u32,
        /// Checksum in the file.
        found: u32,
    },
    /// The file belongs to another teacher, data set or format than expected.
    #[error(
        "{path}: expected {field} {expected}, found {found}: the file is of another teacher, data \
         set or format"
    )]
    OtherContent {
        /// Path of the file.
        path: PathBuf,
        /// Field that differs.
        field: &'static str,
        /// Value that the reader expects.
        expected: String,
        /// Value in the file.
        found: String,
    },
    /// The file contains an invalid value.
    #[error("{path}, {place}: expected {expected}, found {found}")]
    Value {
        /// Path of the file.
        path: PathBuf,
        /// Part with the value: the header, or an example.
        place: String,
        /// Valid values.
        expected: String,
        /// Value that was found.
        found: String,
    },
    /// The file does not contain this example.
    #[error("{path}: expected example {example}, found {num_examples} examples")]
    NoExample {
        /// Path of the file.
        path: PathBuf,
        /// Number of the example.
        example: usize,
        /// Number of examples in the file.
        num_examples: usize,
    },
}

impl TeacherLogitsError {
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io {
            path: path.clone(),
            source,
        }
    }
}
