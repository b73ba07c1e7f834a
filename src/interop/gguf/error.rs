use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    GgmlType, GgufShape,
    message::{no_codec, shown, unstorable},
};

/// Error of a producer or a reader of a tensor's bytes.
pub type BoxedError = Box<dyn core::error::Error + Send + Sync>;

/// Error when a GGUF file, or a tensor of one, cannot be read or written.
///
/// Offsets are bytes from the start of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// A file that was opened is not right; see [`kind`](Self::kind).
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<GgufError>,
    },
    /// The file does not begin with `GGUF`.
    #[error("expected a GGUF file, found one that begins with {}", .found.escape_ascii())]
    OtherKind {
        /// Its first bytes.
        found: Vec<u8>,
    },
    /// The numbers of the file are big-endian.
    #[error(
        "the file is big-endian: convert it to little-endian with the `gguf` package's \
         gguf_convert_endian"
    )]
    BigEndian,
    /// The file has a version that is not read.
    #[error("expected version 2 or 3 of GGUF, found version {found}")]
    Version {
        /// The version of the file.
        found: u32,
    },
    /// The file ends within something.
    #[error(
        "byte {offset}: {what} takes {expected} bytes, the file has {found} more: it was cut off, \
         or is damaged"
    )]
    Truncated {
        /// What the file ends in.
        what: &'static str,
        /// Where it begins.
        offset: u64,
        /// Bytes that it takes.
        expected: u64,
        /// Bytes that are left.
        found: u64,
    },
    /// The file counts more of something than its bytes can hold.
    #[error(
        "byte {offset}: the file counts {found} {what}, its bytes hold at most {limit}: it was cut \
         off, or is damaged"
    )]
    Count {
        /// What is counted.
        what: &'static str,
        /// Where the first of them would begin.
        offset: u64,
        /// How many there can be at most.
        limit: u64,
        /// How many there should be.
        found: u64,
    },
    /// A text is not UTF-8.
    #[error("byte {offset}: {what} is not UTF-8")]
    Utf8 {
        /// What the text is.
        what: &'static str,
        /// Where it begins.
        offset: u64,
    },
    /// A key or value that the format or this crate does not allow.
    #[error("key `{}`: {reason}", shown(.key))]
    Key {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A key occurs twice.
    #[error("key `{key}` occurs twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// The metadata have no such key.
    #[error("there is no key `{key}`")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A value has another type than is expected, or one that its type does not have.
    #[error("key `{key}`: expected {expected}, found {found}")]
    KeyType {
        /// Its key.
        key: String,
        /// The expected type, or the values that it has.
        expected: &'static str,
        /// The type of the value, or a number that is not expected.
        found: String,
    },
    /// The alignment is no power of two from 8.
    #[error("expected a power of two from 8 as `general.alignment`, found {found}")]
    Alignment {
        /// The alignment.
        found: u64,
    },
    /// Two tensors have one name.
    #[error("tensor `{tensor}` occurs twice")]
    DuplicateTensor {
        /// The name.
        tensor: String,
    },
    /// There is no such tensor.
    #[error("there is no tensor `{tensor}`")]
    MissingTensor {
        /// The name.
        tensor: String,
    },
    /// The name is empty or longer than ggml can hold.
    #[error(
        "tensor `{}`: a name has 1 to {limit} bytes, this one {}",
        shown(.tensor),
        .tensor.len()
    )]
    TensorName {
        /// The name.
        tensor: String,
        /// The most bytes that a name may have.
        limit: usize,
    },
    /// A type of tensors that is not known.
    #[error("tensor `{tensor}`: its type {found} is not known")]
    TensorType {
        /// The tensor.
        tensor: String,
        /// Number of the type.
        found: u32,
    },
    /// Type 36, which only bitnet.cpp's files have, and they are not expected.
    #[error(
        "tensor `{tensor}`: its type 36 is I2_S if the file was made by bitnet.cpp, and not \
         readable otherwise: open the file with the option `with_i2_s(true)` if it was"
    )]
    UnexpectedI2S {
        /// The tensor.
        tensor: String,
    },
    /// Not one to four dimensions.
    #[error("tensor `{tensor}`: expected 1 to 4 dimensions, found {found}")]
    Dimensions {
        /// The tensor.
        tensor: String,
        /// Number of dimensions.
        found: u32,
    },
    /// A size of zero, or more elements than can be counted.
    #[error("tensor `{tensor}`: its sizes {found:?} are zero or too large to be counted")]
    Shape {
        /// The tensor.
        tensor: String,
        /// The sizes, the length of a row first.
        found: Vec<u64>,
    },
    /// Rows that cannot be cut into blocks of the type.
    #[error(
        "tensor `{tensor}`: rows of {} elements (shape {shape:?}) cannot be cut into the blocks of \
         {} elements of {ggml_type}: store the tensor as F16, or choose sizes that are multiples",
        .shape.row_len(),
        .ggml_type.block_len()
    )]
    RowLength {
        /// The tensor.
        tensor: String,
        /// Its type.
        ggml_type: GgmlType,
        /// Its shape, the length of a row first.
        shape: GgufShape,
    },
    /// The bytes of a tensor begin where they must not.
    #[error("tensor `{tensor}`: its offset {offset} is no multiple of the alignment {alignment}")]
    Misaligned {
        /// The tensor.
        tensor: String,
        /// Where they begin, from the start of the first tensor's.
        offset: u64,
        /// What that must be a multiple of.
        alignment: u64,
    },
    /// The bytes of a tensor go beyond the end of the file.
    #[error(
        "tensor `{tensor}`: {num_bytes} bytes from offset {offset} on, the file has {available} \
         bytes for tensors: it was cut off, as by a download that ended early"
    )]
    Outside {
        /// The tensor.
        tensor: String,
        /// Where its bytes begin, from the start of the first tensor's.
        offset: u64,
        /// How many there are.
        num_bytes: u64,
        /// Bytes that the file has for tensors.
        available: u64,
    },
    /// Two tensors share bytes.
    #[error("the tensors `{first}` and `{second}` share bytes")]
    Overlap {
        /// The tensor that begins first.
        first: String,
        /// The tensor that begins within it.
        second: String,
    },
    /// A tensor or list has another length than its shape takes.
    #[error("tensor `{tensor}`: expected {expected} {what}, found {found}")]
    Length {
        /// The tensor.
        tensor: String,
        /// What has the length.
        what: &'static str,
        /// The length that is right.
        expected: u64,
        /// The length that it has.
        found: u64,
    },
    /// A type whose blocks are not encoded here, or not decoded, or hold no codes.
    #[error("tensor `{tensor}`: {ggml_type} {}", no_codec(*.ggml_type))]
    NoCodec {
        /// The tensor.
        tensor: String,
        /// Its type.
        ggml_type: GgmlType,
    },
    /// A number that the type cannot hold.
    #[error("tensor `{tensor}`, number {index}{}", unstorable(*.ggml_type, *.value))]
    Unstorable {
        /// The tensor.
        tensor: String,
        /// Its type.
        ggml_type: GgmlType,
        /// Number of the element or scale.
        index: u64,
        /// The number.
        value: f32,
    },
    /// A code that is not -1, 0 or 1.
    #[error("tensor `{tensor}`, element {index}: expected a code of -1, 0 or 1, found {found}")]
    Code {
        /// The tensor.
        tensor: String,
        /// Number of the element.
        index: u64,
        /// The code.
        found: i8,
    },
    /// Scales that the type cannot hold: I2_S has one for the tensor.
    #[error("tensor `{tensor}`: {ggml_type} takes {expected} scales, found {found}")]
    Scales {
        /// The tensor.
        tensor: String,
        /// Its type.
        ggml_type: GgmlType,
        /// How many it can hold.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// A key of the metadata asks for something that is not built.
    #[error("{key} is {found}, supported is {supported}")]
    Unsupported {
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// The values that are.
        supported: String,
    },
    /// The file is one of several that hold a model together.
    #[error(
        "the file is part {part} of {count} of a split GGUF: put the parts together with \
         `llama-gguf-split --merge FIRST-PART NEW-FILE`, and load that"
    )]
    Split {
        /// Number of the file, from 1.
        part: u64,
        /// How many there are.
        count: u64,
    },
    /// Nothing tells the activation of the feed-forward blocks, and programs take different ones.
    #[error(
        "there is no key `{architecture}.hidden_activation`, and programs differ: for \
         {architecture} bitnet.cpp computed squared ReLU until July 2026, and computes SiLU since. \
         Say which one the model was trained with (LoadOptions::with_activation)"
    )]
    Activation {
        /// The architecture.
        architecture: String,
    },
    /// The file holds no model that this crate has layers for, or the model cannot be written.
    #[error("{reason}")]
    Model {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The bytes of a tensor that is to be written could not be made.
    #[error("tensor `{tensor}`: {source}")]
    Producer {
        /// The tensor.
        tensor: String,
        /// The reason.
        source: BoxedError,
    },
}

impl GgufError {
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io {
            path: path.clone(),
            source,
        }
    }

    pub(super) fn model(reason: impl Into<String>) -> Self {
        Self::Model {
            reason: reason.into(),
        }
    }

    pub(super) fn unsupported(
        key: impl Into<String>,
        found: impl ToString,
        supported: impl ToString,
    ) -> Self {
        Self::Unsupported {
            key: key.into(),
            found: found.to_string(),
            supported: supported.to_string(),
        }
    }

    pub(super) fn missing_key(key: impl Into<String>) -> Self {
        Self::MissingKey { key: key.into() }
    }

    pub(super) fn in_file(self, path: &Path) -> Self {
        Self::File {
            path: path.to_path_buf(),
            source: Box::new(self),
        }
    }

    /// What is wrong, without the name of the file.
    pub fn kind(&self) -> &Self {
        match self {
            Self::File { source, .. } => source.kind(),
            other => other,
        }
    }
}
