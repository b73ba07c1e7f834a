use core::fmt;
use std::{
    io,
    path::{Path, PathBuf},
};

use burn::tensor::TensorReadError;

/// Why a file of teacher logits cannot be written or read.
#[derive(Debug)]
#[non_exhaustive]
pub enum TeacherLogitsError {
    /// The operating system refused.
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// The device did not give the logits away.
    Device {
        /// Its reason.
        source: TensorReadError,
    },
    /// Logits of the teacher that the file cannot hold: NaN, infinity, or too large for `f16`.
    Unstorable {
        /// Number of the example.
        example: u64,
        /// Position in the example.
        position: usize,
        /// The logit.
        value: f32,
    },
    /// The file does not begin as one of teacher logits does.
    OtherKind {
        /// The file.
        path: PathBuf,
        /// Its first bytes.
        found: Vec<u8>,
    },
    /// The file has a version that this program does not read.
    Version {
        /// The file.
        path: PathBuf,
        /// The version that is read.
        expected: u32,
        /// The version of the file.
        found: u32,
    },
    /// The file ends too early or too late.
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// A checksum is wrong.
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

impl fmt::Display for TeacherLogitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Device { source } => write!(f, "the teacher's logits cannot be read: {source}"),
            Self::Unstorable {
                example,
                position,
                value,
            } => write!(
                f,
                "example {example}, position {position}: expected a logit that the file's type \
                 holds, found {value}"
            ),
            Self::OtherKind { path, found } => write!(
                f,
                "{}: expected a file of teacher logits, found one that begins with {}",
                path.display(),
                found.escape_ascii()
            ),
            Self::Version {
                path,
                expected,
                found,
            } => write!(
                f,
                "{}: expected version {expected} of the format, found version {found}",
                path.display()
            ),
            Self::Length {
                path,
                expected,
                found,
            } => write!(
                f,
                "{}: expected {expected} bytes, found {found}",
                path.display()
            ),
            Self::Checksum {
                path,
                place,
                expected,
                found,
            } => write!(
                f,
                "{}, {place}: expected checksum {expected:08x}, found {found:08x}",
                path.display()
            ),
            Self::OtherContent {
                path,
                field,
                expected,
                found,
            } => write!(
                f,
                "{}: expected {field} {expected}, found {found}: the file is of another teacher, \
                 data set or format",
                path.display()
            ),
            Self::Value {
                path,
                place,
                expected,
                found,
            } => write!(
                f,
                "{}, {place}: expected {expected}, found {found}",
                path.display()
            ),
            Self::NoExample {
                path,
                example,
                num_examples,
            } => write!(
                f,
                "{}: expected example {example}, found {num_examples} examples",
                path.display()
            ),
        }
    }
}

impl core::error::Error for TeacherLogitsError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Device { source } => Some(source),
            _ => None,
        }
    }
}
