use burn::tensor::FloatDType;
use half::f16;

use super::{
    base::{decode_blocks, encode_blocks},
    check::{check_length, check_shape, no_codec, unstorable},
    i2_s,
    iq4::{IQ4_NL, IQ4_XS},
    q2_k::{Q2_K, Q3_K},
    q4::{Q4_0, Q4_1, Q5_0, Q5_1},
    q4_k::{Q4_K, Q5_K},
    q6_k::Q6_K,
    q8_0::Q8_0,
    tq1_0::TQ1_0,
    tq2_0::TQ2_0,
};
use crate::interop::{
    floats,
    gguf::{GgmlType, GgufError, GgufShape},
};

/// Encodes the numbers of a tensor, row after row.
///
/// Each block of a ternary type gets a scale of its own, `max |x|`, and the codes are
/// `round(x / scale)`, ties away from zero; of Q8_0, `max |x| / 127` and the same rounding. Codes
/// that are there already are to be [encoded as such](super::encode_ternary): a scale that is
/// derived again from rounded numbers is another one.
///
/// `name` is for errors.
///
/// # Errors
///
/// If the type has no [codec](GgmlType::has_codec), the shape cannot be cut into its blocks or does
/// not have as many elements as there are values, or it cannot hold a value: one that is not finite
/// (those can be stored as F32, F16 and BF16) or is too large for half precision.
pub fn encode(
    name: &str,
    ggml_type: GgmlType,
    shape: GgufShape,
    values: &[f32],
) -> Result<Vec<u8>, GgufError> {
    check_shape(name, ggml_type, shape)?;
    check_length(name, "values", shape.num_elements(), values.len())?;
    let unstorable = |index: usize| unstorable(name, ggml_type, index, values[index]);
    if let Some(dtype) = ggml_type.float_dtype() {
        return encode_floats(values, dtype).map_err(unstorable);
    }
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(unstorable(index));
    }
    let encoded = match ggml_type {
        GgmlType::Q8_0 => encode_blocks::<Q8_0>(values),
        GgmlType::TQ1_0 => encode_blocks::<TQ1_0>(values),
        GgmlType::TQ2_0 => encode_blocks::<TQ2_0>(values),
        GgmlType::I2_S => Ok(i2_s::encode(values)),
        other => return Err(no_codec(name, other)),
    };
    encoded.map_err(unstorable)
}

/// Fails with the number of a finite element that would become infinite in half precision.
fn encode_floats(values: &[f32], dtype: FloatDType) -> Result<Vec<u8>, usize> {
    let overflows = |value: &f32| value.is_finite() && f16::from_f32(*value).is_infinite();
    if dtype == FloatDType::F16
        && let Some(index) = values.iter().position(overflows)
    {
        return Err(index);
    }
    Ok(floats::write(values, dtype))
}

/// Decodes the bytes of a tensor to its numbers, row after row.
///
/// `name` is for errors.
///
/// # Errors
///
/// If the type is not [decoded](GgmlType::is_decoded) here, or there are not as many bytes as the
/// shape takes.
pub fn decode(
    name: &str,
    ggml_type: GgmlType,
    shape: GgufShape,
    bytes: &[u8],
) -> Result<Vec<f32>, GgufError> {
    let num_bytes = check_shape(name, ggml_type, shape)?;
    check_length(name, "bytes", num_bytes, bytes.len())?;
    if let Some(dtype) = ggml_type.float_dtype() {
        return Ok(floats::values(bytes, dtype));
    }
    Ok(match ggml_type {
        GgmlType::Q4_0 => decode_blocks::<Q4_0>(bytes),
        GgmlType::Q4_1 => decode_blocks::<Q4_1>(bytes),
        GgmlType::Q5_0 => decode_blocks::<Q5_0>(bytes),
        GgmlType::Q5_1 => decode_blocks::<Q5_1>(bytes),
        GgmlType::Q8_0 => decode_blocks::<Q8_0>(bytes),
        GgmlType::Q2_K => decode_blocks::<Q2_K>(bytes),
        GgmlType::Q3_K => decode_blocks::<Q3_K>(bytes),
        GgmlType::Q4_K => decode_blocks::<Q4_K>(bytes),
        GgmlType::Q5_K => decode_blocks::<Q5_K>(bytes),
        GgmlType::Q6_K => decode_blocks::<Q6_K>(bytes),
        GgmlType::IQ4_NL => decode_blocks::<IQ4_NL>(bytes),
        GgmlType::IQ4_XS => decode_blocks::<IQ4_XS>(bytes),
        GgmlType::TQ1_0 => decode_blocks::<TQ1_0>(bytes),
        GgmlType::TQ2_0 => decode_blocks::<TQ2_0>(bytes),
        GgmlType::I2_S => i2_s::decode(bytes),
        other => return Err(no_codec(name, other)),
    })
}
