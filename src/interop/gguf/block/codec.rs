use super::{decoder, half, i2_s, q8_0, ternary, ternary_codec::TernaryBlocks};
use crate::interop::gguf::{GgmlType, GgufError, GgufShape};

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
    let unstorable = |index: usize| GgufError::Unstorable {
        tensor: name.to_string(),
        ggml_type,
        index: index as u64,
        value: values[index],
    };
    let floats = matches!(ggml_type, GgmlType::F32 | GgmlType::F16 | GgmlType::BF16);
    if !floats && let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(unstorable(index));
    }
    match ggml_type {
        GgmlType::F32 => Ok(values.iter().flat_map(|x| x.to_le_bytes()).collect()),
        GgmlType::F16 => half::encode_f16(values).map_err(unstorable),
        GgmlType::BF16 => Ok(half::encode_bf16(values)),
        GgmlType::Q8_0 => q8_0::encode(values).map_err(unstorable),
        GgmlType::I2_S => Ok(i2_s::encode(values)),
        other => match TernaryBlocks::of(other) {
            Some(blocks) => ternary::encode(blocks, values).map_err(unstorable),
            None => Err(no_codec(name, other)),
        },
    }
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
    check_length(
        name,
        "bytes",
        check_shape(name, ggml_type, shape)?,
        bytes.len(),
    )?;
    match ggml_type {
        GgmlType::F32 => Ok(words(bytes).map(f32::from_le_bytes).collect()),
        GgmlType::F16 => Ok(half::decode_f16(bytes)),
        GgmlType::BF16 => Ok(half::decode_bf16(bytes)),
        GgmlType::Q8_0 => Ok(q8_0::decode(bytes)),
        GgmlType::I2_S => Ok(i2_s::decode(bytes)),
        other => match TernaryBlocks::of(other) {
            Some(blocks) => Ok(ternary::decode(blocks, bytes)),
            None => decoder::decode(other, bytes).ok_or_else(|| no_codec(name, other)),
        },
    }
}

/// Words of `N` bytes.
pub(super) fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks().0.iter().copied()
}

pub(super) fn no_codec(name: &str, ggml_type: GgmlType) -> GgufError {
    GgufError::NoCodec {
        tensor: name.to_string(),
        ggml_type,
    }
}

/// The number of bytes that the shape takes.
pub(super) fn check_shape(
    name: &str,
    ggml_type: GgmlType,
    shape: GgufShape,
) -> Result<u64, GgufError> {
    let bytes = ggml_type.num_bytes(shape.row_len(), shape.rows());
    bytes.ok_or_else(|| GgufError::RowLength {
        tensor: name.to_string(),
        ggml_type,
        shape,
    })
}

pub(super) fn check_length(
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(sizes: &[usize]) -> GgufShape {
        GgufShape::from_row_major(sizes).unwrap()
    }

    #[test]
    fn what_cannot_be_encoded() {
        let text = |result: Result<Vec<u8>, GgufError>| result.unwrap_err().to_string();
        let values = vec![1.0; 96];
        let result = encode(
            "blk.0.ffn_up.weight",
            GgmlType::TQ2_0,
            shape(&[1, 96]),
            &values,
        );
        assert_eq!(
            text(result),
            "tensor `blk.0.ffn_up.weight`: rows of 96 elements (shape [96, 1]) cannot be cut into \
             the blocks of 256 elements of TQ2_0: store the tensor as F16, or choose sizes that are \
             multiples"
        );
        let result = encode("w", GgmlType::Q8_0, shape(&[4, 32]), &values);
        assert_eq!(text(result), "tensor `w`: expected 128 values, found 96");
        let result = encode("w", GgmlType::Q4_0, shape(&[96]), &values);
        let expected =
            "tensor `w`: Q4_0 is read to floats alone: it is not written here, and holds no codes";
        assert_eq!(text(result), expected);
        for ggml_type in [
            GgmlType::TQ1_0,
            GgmlType::TQ2_0,
            GgmlType::Q8_0,
            GgmlType::I2_S,
        ] {
            for bad in [f32::NAN, f32::INFINITY] {
                let mut values = vec![1.0; 256];
                values[77] = bad;
                let result = encode("w", ggml_type, shape(&[256]), &values);
                let expected = format!("tensor `w`, number 77: {ggml_type} cannot hold {bad}");
                assert_eq!(text(result), expected);
            }
        }
        for ggml_type in [
            GgmlType::TQ1_0,
            GgmlType::TQ2_0,
            GgmlType::Q8_0,
            GgmlType::F16,
        ] {
            let mut values = vec![1.0; 512];
            values[300] = 1e8;
            let result = encode("w", ggml_type, shape(&[512]), &values);
            let expected = format!("tensor `w`, number 300: {ggml_type} cannot hold 100000000");
            assert_eq!(text(result), expected);
        }
    }

    #[test]
    fn floats_come_back() {
        let values = [1.5, -0.0, 2.0f32.powi(-20), 65504.0, f32::NEG_INFINITY];
        for ggml_type in [GgmlType::F32, GgmlType::F16, GgmlType::BF16] {
            let bytes = encode("w", ggml_type, shape(&[5]), &values).unwrap();
            let decoded = decode("w", ggml_type, shape(&[5]), &bytes).unwrap();
            let bf16 = ggml_type == GgmlType::BF16;
            assert_eq!(decoded[3], if bf16 { 65536.0 } else { 65504.0 });
            assert_eq!(decoded[..3], values[..3]);
            assert!(decoded[1].is_sign_negative() && decoded[4] == values[4]);
            assert!(decode("w", ggml_type, shape(&[4]), &bytes).is_err());
        }
    }
}
