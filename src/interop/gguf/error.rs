use std::{
    io,
    path::{Path, PathBuf},
};

use super::{GgmlType, GgufShape};

/// What a producer of a tensor's bytes, or a reader of them, failed with.
pub type BoxedError = Box<dyn core::error::Error + Send + Sync>;

/// Why a GGUF file, or a tensor of one, cannot be read or written.
///
/// Offsets are bytes from the start of the file.
#[derive(Debug)]
#[non_exhaustive]
pub enum GgufError {
    /// The operating system refused.
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// A file that was opened is not right; see [`kind`](Self::kind).
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<GgufError>,
    },
    /// The file does not begin with `GGUF`.
    OtherKind {
        /// Its first bytes.
        found: Vec<u8>,
    },
    /// The numbers of the file are big-endian.
    BigEndian,
    /// The file has a version that is not read.
    Version {
        /// The version of the file.
        found: u32,
    },
    /// The file ends within something.
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
    Utf8 {
        /// What the text is.
        what: &'static str,
        /// Where it begins.
        offset: u64,
    },
    /// A type of values that the format does not have.
    ValueType {
        /// Key of the value.
        key: String,
        /// Number of the type.
        found: u32,
    },
    /// An array of arrays, which llama.cpp does not read either.
    NestedArray {
        /// Key of the value.
        key: String,
    },
    /// A truth value that is neither 0 nor 1.
    Bool {
        /// Key of the value.
        key: String,
        /// The byte.
        found: u8,
    },
    /// A key that the format does not allow.
    Key {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A key occurs twice.
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// The metadata have no such key.
    MissingKey {
        /// The key.
        key: String,
    },
    /// A value has another type than is expected.
    KeyType {
        /// Its key.
        key: String,
        /// The expected type.
        expected: &'static str,
        /// The type of the value, or an integer that the expected type does not hold.
        found: String,
    },
    /// The alignment is no power of two from 8.
    Alignment {
        /// The alignment.
        found: u64,
    },
    /// Two tensors have one name.
    DuplicateTensor {
        /// The name.
        tensor: String,
    },
    /// There is no such tensor.
    MissingTensor {
        /// The name.
        tensor: String,
    },
    /// The name is empty or longer than ggml can hold.
    TensorName {
        /// The name.
        tensor: String,
        /// The most bytes that a name may have.
        limit: usize,
    },
    /// A type of tensors that is not known.
    TensorType {
        /// The tensor.
        tensor: String,
        /// Number of the type.
        found: u32,
    },
    /// Type 36, which only bitnet.cpp's files have, and they are not expected.
    UnexpectedI2S {
        /// The tensor.
        tensor: String,
    },
    /// Not one to four dimensions.
    Dimensions {
        /// The tensor.
        tensor: String,
        /// Number of dimensions.
        found: u32,
    },
    /// A size of zero, or more elements than can be counted.
    Shape {
        /// The tensor.
        tensor: String,
        /// The sizes, the length of a row first.
        found: Vec<u64>,
    },
    /// Rows that cannot be cut into blocks of the type.
    RowLength {
        /// The tensor.
        tensor: String,
        /// Its type.
        ggml_type: GgmlType,
        /// Its shape, the length of a row first.
        shape: GgufShape,
    },
    /// The bytes of a tensor begin where they must not.
    Misaligned {
        /// The tensor.
        tensor: String,
        /// Where they begin, from the start of the first tensor's.
        offset: u64,
        /// What that must be a multiple of.
        alignment: u64,
    },
    /// The bytes of a tensor go beyond the end of the file.
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
    Overlap {
        /// The tensor that begins first.
        first: String,
        /// The tensor that begins within it.
        second: String,
    },
    /// A tensor or list has another length than its shape takes.
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
    NoCodec {
        /// The tensor.
        tensor: String,
        /// Its type.
        ggml_type: GgmlType,
    },
    /// A number that the type cannot hold.
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
    Code {
        /// The tensor.
        tensor: String,
        /// Number of the element.
        index: u64,
        /// The code.
        found: i8,
    },
    /// Scales that the type cannot hold: I2_S has one for the tensor.
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
    Unsupported {
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// The values that are.
        supported: String,
    },
    /// The file is one of several that hold a model together.
    Split {
        /// Number of the file, from 1.
        part: u64,
        /// How many there are.
        count: u64,
    },
    /// Nothing tells the activation of the feed-forward blocks, and programs take different ones.
    Activation {
        /// The architecture.
        architecture: String,
    },
    /// The file holds no model that this crate has layers for, or the model cannot be written.
    Model {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The bytes of a tensor that is to be written could not be made.
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

impl core::error::Error for GgufError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::File { source, .. } => Some(source),
            Self::Producer { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}
