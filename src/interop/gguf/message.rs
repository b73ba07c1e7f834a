use core::fmt;

use super::{GgmlType, GgufError};

impl fmt::Display for GgufError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
            Self::OtherKind { found } => write!(
                f,
                "expected a GGUF file, found one that begins with {}",
                found.escape_ascii()
            ),
            Self::Model { reason } => f.write_str(reason),
            Self::Unsupported {
                key,
                found,
                supported,
            } => write!(f, "{key} is {found}, supported is {supported}"),
            Self::Split { part, count } => write!(
                f,
                "the file is part {part} of {count} of a split GGUF: put the parts together with \
                 `llama-gguf-split --merge FIRST-PART NEW-FILE`, and load that"
            ),
            Self::Activation { architecture } => write!(
                f,
                "there is no key `{architecture}.hidden_activation`, and programs differ: for \
                 {architecture} bitnet.cpp computed squared ReLU until July 2026, and computes SiLU \
                 since. Say which one the model was trained with (LoadOptions::with_activation)"
            ),
            Self::BigEndian => f.write_str(
                "the file is big-endian: convert it to little-endian with the `gguf` package's \
                 gguf_convert_endian",
            ),
            Self::Version { found } => {
                write!(f, "expected version 2 or 3 of GGUF, found version {found}")
            }
            Self::Truncated {
                what,
                offset,
                expected,
                found,
            } => write!(
                f,
                "byte {offset}: {what} takes {expected} bytes, the file has {found} more: it was cut \
                 off, or is damaged"
            ),
            Self::Count {
                what,
                offset,
                limit,
                found,
            } => write!(
                f,
                "byte {offset}: the file counts {found} {what}, its bytes hold at most {limit}: it was cut \
                 off, or is damaged"
            ),
            Self::Utf8 { what, offset } => write!(f, "byte {offset}: {what} is not UTF-8"),
            Self::ValueType { key, found } => {
                write!(
                    f,
                    "key `{key}`: expected a type from 0 to 12, found {found}"
                )
            }
            Self::NestedArray { key } => write!(f, "key `{key}`: arrays of arrays are not read"),
            Self::Bool { key, found } => write!(f, "key `{key}`: expected 0 or 1, found {found}"),
            Self::Key { key, reason } => write!(f, "key `{}`: {reason}", shown(key)),
            Self::DuplicateKey { key } => write!(f, "key `{key}` occurs twice"),
            Self::MissingKey { key } => write!(f, "there is no key `{key}`"),
            Self::KeyType {
                key,
                expected,
                found,
            } => write!(f, "key `{key}`: expected {expected}, found {found}"),
            Self::Alignment { found } => write!(
                f,
                "expected a power of two from 8 as `general.alignment`, found {found}"
            ),
            Self::DuplicateTensor { tensor } => write!(f, "tensor `{tensor}` occurs twice"),
            Self::MissingTensor { tensor } => write!(f, "there is no tensor `{tensor}`"),
            Self::TensorName { tensor, limit } => write!(
                f,
                "tensor `{}`: a name has 1 to {limit} bytes, this one {}",
                shown(tensor),
                tensor.len()
            ),
            Self::TensorType { tensor, found } => {
                write!(f, "tensor `{tensor}`: its type {found} is not known")
            }
            Self::UnexpectedI2S { tensor } => write!(
                f,
                "tensor `{tensor}`: its type 36 is I2_S if the file was made by bitnet.cpp, and not \
                 readable otherwise: open the file with the option `with_i2_s(true)` if it was"
            ),
            Self::Dimensions { tensor, found } => {
                write!(
                    f,
                    "tensor `{tensor}`: expected 1 to 4 dimensions, found {found}"
                )
            }
            Self::Shape { tensor, found } => write!(
                f,
                "tensor `{tensor}`: its sizes {found:?} are zero or too large to be counted"
            ),
            Self::RowLength {
                tensor,
                ggml_type,
                shape,
            } => write!(
                f,
                "tensor `{tensor}`: rows of {} elements (shape {shape:?}) cannot be cut into the \
                 blocks of {} elements of {ggml_type}: store the tensor as F16, or choose sizes \
                 that are multiples",
                shape.row_len(),
                ggml_type.block_len()
            ),
            Self::Misaligned {
                tensor,
                offset,
                alignment,
            } => write!(
                f,
                "tensor `{tensor}`: its offset {offset} is no multiple of the alignment {alignment}"
            ),
            Self::Outside {
                tensor,
                offset,
                num_bytes,
                available,
            } => write!(
                f,
                "tensor `{tensor}`: {num_bytes} bytes from offset {offset} on, the file has \
                 {available} bytes for tensors: it was cut off, as by a download that ended early"
            ),
            Self::Overlap { first, second } => {
                write!(f, "the tensors `{first}` and `{second}` share bytes")
            }
            Self::Length {
                tensor,
                what,
                expected,
                found,
            } => write!(
                f,
                "tensor `{tensor}`: expected {expected} {what}, found {found}"
            ),
            Self::NoCodec { tensor, ggml_type } => write!(
                f,
                "tensor `{tensor}`: {ggml_type} {}",
                match ggml_type.is_decoded() {
                    true => "is read to floats alone: it is not written here, and holds no codes",
                    false => "cannot be read or written here",
                }
            ),
            Self::Unstorable {
                tensor,
                ggml_type: GgmlType::F32 | GgmlType::F16 | GgmlType::BF16,
                index,
                value,
            } if !value.is_finite() => write!(
                f,
                "tensor `{tensor}`, number {index} is {value}: no program computes with such a weight"
            ),
            Self::Unstorable {
                tensor,
                ggml_type,
                index,
                value,
            } => write!(
                f,
                "tensor `{tensor}`, number {index}: {ggml_type} cannot hold {value}"
            ),
            Self::Code {
                tensor,
                index,
                found,
            } => write!(
                f,
                "tensor `{tensor}`, element {index}: expected a code of -1, 0 or 1, found {found}"
            ),
            Self::Scales {
                tensor,
                ggml_type,
                expected,
                found,
            } => write!(
                f,
                "tensor `{tensor}`: {ggml_type} takes {expected} scales, found {found}"
            ),
            Self::Producer { tensor, source } => write!(f, "tensor `{tensor}`: {source}"),
        }
    }
}

/// The start of a name that may be very long.
fn shown(name: &str) -> String {
    match name.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_string(),
    }
}
