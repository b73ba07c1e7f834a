//! Parts of the messages of [`GgufError`](super::GgufError).

use super::GgmlType;

/// The start of a name that may be very long.
pub(super) fn shown(name: &str) -> String {
    match name.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_string(),
    }
}

pub(super) fn no_codec(ggml_type: GgmlType) -> &'static str {
    match ggml_type.is_decoded() {
        true => "is read to floats alone: it is not written here, and holds no codes",
        false => "cannot be read or written here",
    }
}

pub(super) fn unstorable(ggml_type: GgmlType, value: f32) -> String {
    match ggml_type.float_dtype().is_some() && !value.is_finite() {
        true => format!(" is {value}: no program computes with such a weight"),
        false => format!(": {ggml_type} cannot hold {value}"),
    }
}
