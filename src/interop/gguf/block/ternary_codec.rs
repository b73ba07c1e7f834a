use super::{
    TernaryScales, TernaryTensor,
    check::{check_codes, check_length, check_scales, check_shape, no_codec, unstorable},
    i2_s,
    ternary::{self, LEN},
    tq1_0::TQ1_0,
    tq2_0::TQ2_0,
};
use crate::interop::gguf::{GgmlType, GgufError, GgufShape};

/// Encodes the codes of a tensor, row after row, with scales as they are.
///
/// Each block of TQ1_0 and TQ2_0 gets the scale of its row, rounded to half precision; a tensor of
/// I2_S has one, of single precision. `name` is for errors.
///
/// # Errors
///
/// If the type is not [ternary](GgmlType::is_ternary), the shape cannot be cut into its blocks or
/// does not fit codes and scales, a code is not -1, 0 or 1, or a scale is not finite, or too large
/// or too small for half precision.
pub fn encode_ternary(
    name: &str,
    ggml_type: GgmlType,
    shape: GgufShape,
    codes: &[i8],
    scales: TernaryScales<'_>,
) -> Result<Vec<u8>, GgufError> {
    if !ggml_type.is_ternary() {
        return Err(no_codec(name, ggml_type));
    }
    check_shape(name, ggml_type, shape)?;
    check_length(name, "codes", shape.num_elements(), codes.len())?;
    check_codes(name, codes)?;
    check_scales(name, ggml_type, shape, scales)?;
    let row_len = shape.row_len() as usize;
    let scale_of = |block: usize| scales.of_row(block * LEN / row_len);
    Ok(match ggml_type {
        GgmlType::TQ1_0 => ternary::encode_codes::<TQ1_0>(codes, scale_of),
        GgmlType::TQ2_0 => ternary::encode_codes::<TQ2_0>(codes, scale_of),
        _ => i2_s::encode_codes(codes, scales.of_row(0)),
    })
}

/// Decodes the bytes of a ternary tensor to codes and scales, without rounding.
///
/// `name` is for errors.
///
/// # Errors
///
/// If the type is not [ternary](GgmlType::is_ternary), there are not as many bytes as the shape
/// takes, a code is not -1, 0 or 1, or a scale is not finite.
pub fn decode_ternary(
    name: &str,
    ggml_type: GgmlType,
    shape: GgufShape,
    bytes: &[u8],
) -> Result<TernaryTensor, GgufError> {
    if !ggml_type.is_ternary() {
        return Err(no_codec(name, ggml_type));
    }
    let num_bytes = check_shape(name, ggml_type, shape)?;
    check_length(name, "bytes", num_bytes, bytes.len())?;
    let tensor = match ggml_type {
        GgmlType::TQ1_0 => ternary::decode_codes::<TQ1_0>(bytes),
        GgmlType::TQ2_0 => ternary::decode_codes::<TQ2_0>(bytes),
        _ => i2_s::decode_codes(bytes),
    };
    check_codes(name, tensor.codes())?;
    match tensor.scales().iter().position(|scale| !scale.is_finite()) {
        None => Ok(tensor),
        Some(index) => Err(unstorable(name, ggml_type, index, tensor.scales()[index])),
    }
}
