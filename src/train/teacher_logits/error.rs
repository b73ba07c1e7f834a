use std::{
    io,
    path::{Path, PathBuf},
};

use burn::tensor::TensorReadError;

/// Error when a file of teacher logits cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TeacherLogitsError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// The device did not give the logits away.
    #[error("the teacher's logits cannot be read: {source}")]
    Device {
        /// Its reason.
        source: TensorReadError,
    },
    /// Logits of the teacher that the file cannot hold: NaN, infinity, or too large for `f16`.
    #[error(
        "example {example}, position {position}: expected a logit that the file's type holds, \
         found {value}"
    )]
    Unstorable {
        /// Number of the example.
        example: u64,
        /// Position in the example.
        position: usize,
        /// The logit.
        value: f32,
    },
    /// The file does not begin as one of teacher logits does.
    #[error(
        "{path}: expected a file of teacher logits, found one that begins with {}",
        .found.escape_ascii()
    )]
    OtherKind {
        /// The file.
        path: PathBuf,
        /// Its first bytes.
        found: Vec<u8>,
    },
    /// The file has a version that this program does not read.
    #[error("{path}: expected version {expected} of the format, found version {found}")]
    Version {
        /// The file.
        path: PathBuf,
        /// The version that is read.
        expected: u32,
        /// The version of the file.
        found: u32,
    },
    /// The file ends too early or too late.
    #[error("{path}: expected {expected} bytes, found {found}")]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// A checksum is wrong.
    #[error("{path}, {place}: expected checksum {expected:08x}, found {found:08x}")]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The header, or an example.
        place: String,
        /// Checksum of the bytes.
        expected: u32,
        /// Checksum in the file.
        found: u32,
    },
    /// The file was made of another teacher or data set, or otherwise than expected.
    #[error(
        "{path}: expected {field} {expected}, found {found}: the file is of another teacher, data \
         set or format"
    )]
    OtherContent {
        /// The file.
        path: PathBuf,
        /// What differs.
        field: &'static str,
        /// As the reader expects it.
        expected: String,
        /// As the file has it.
        found: String,
    },
    /// A value that no writer writes.
    #[error("{path}, {place}: expected {expected}, found {found}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The header, or an example.
        place: String,
        /// What would be right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The file does not have this example.
    #[error("{path}: expected example {example}, found {num_examples} examples")]
    NoExample {
        /// The file.
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
