//! Checks before a tensor is encoded or decoded.

use core::slice::from_ref;

use half::f16;

use super::TernaryScales;
use crate::interop::gguf::{GgmlType, GgufError, GgufShape};

/// Failure of a type that is not encoded or decoded here.
pub fn no_codec(name: &str, ggml_type: GgmlType) -> GgufError {
    GgufError::NoCodec {
        tensor: name.to_string(),
        ggml_type,
    }
}

/// Number of bytes that a shape takes.
pub fn check_shape(name: &str, ggml_type: GgmlType, shape: GgufShape) -> Result<u64, GgufError> {
    let bytes = ggml_type.num_bytes(shape.row_len(), shape.rows());
    bytes.ok_or_else(|| GgufError::RowLength {
        tensor: name.to_string(),
        ggml_type,
        shape,
    })
}

/// Fails if a tensor has another number of `what`.
pub fn check_length(
    name: &str,
    what: &'static str,
    expected: u64,
    found: usize,
) -> Result<(), GgufError> {
    let found = found as u64;
    if found == expected {
        return Ok(());
    }
    Err(GgufError::Length {
        tensor: name.to_string(),
        what,
        expected,
        found,
    })
}

/// Fails with the first code that is not -1, 0 or 1.
pub fn check_codes(name: &str, codes: &[i8]) -> Result<(), GgufError> {
    match codes.iter().position(|code| !(-1..=1).contains(code)) {
        None => Ok(()),
        Some(index) => Err(GgufError::Code {
            tensor: name.to_string(),
            index: index as u64,
            found: codes[index],
        }),
    }
}

/// Fails if there are not as many scales as the type takes, or it cannot hold one.
pub fn check_scales(
    name: &str,
    ggml_type: GgmlType,
    shape: GgufShape,
    scales: TernaryScales<'_>,
) -> Result<(), GgufError> {
    let scales = match &scales {
        TernaryScales::Tensor(scale) => from_ref(scale),
        TernaryScales::Rows(scales) => {
            let one = ggml_type == GgmlType::I2_S;
            let expected = if one { 1 } else { shape.rows() };
            if scales.len() as u64 != expected {
                return Err(GgufError::Scales {
                    tensor: name.to_string(),
                    ggml_type,
                    expected,
                    found: scales.len() as u64,
                });
            }
            scales
        }
    };
    // A scale that becomes infinite or zero would take the weights with it.
    let storable = |scale: &f32| {
        let half = f16::from_f32(*scale);
        let fits = half.is_finite() && (half.to_f32() == 0.0) == (*scale == 0.0);
        scale.is_finite() && (fits || ggml_type == GgmlType::I2_S)
    };
    match scales.iter().position(|scale| !storable(scale)) {
        None => Ok(()),
        Some(index) => Err(unstorable(name, ggml_type, index, scales[index])),
    }
}

/// Failure of a number that the type cannot hold.
pub fn unstorable(name: &str, ggml_type: GgmlType, index: usize, value: f32) -> GgufError {
    GgufError::Unstorable {
        tensor: name.to_string(),
        ggml_type,
        index: index as u64,
        value,
    }
}
