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
    let is_float = matches!(ggml_type, GgmlType::F32 | GgmlType::F16 | GgmlType::BF16);
    if !is_float && let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(unstorable(index));
    }
    let encoded = match ggml_type {
        GgmlType::F32 => Ok(floats::write(values, FloatDType::F32)),
        GgmlType::F16 => encode_f16(values),
        GgmlType::BF16 => Ok(floats::write(values, FloatDType::BF16)),
        GgmlType::Q8_0 => encode_blocks::<Q8_0>(values),
        GgmlType::TQ1_0 => encode_blocks::<TQ1_0>(values),
        GgmlType::TQ2_0 => encode_blocks::<TQ2_0>(values),
        GgmlType::I2_S => Ok(i2_s::encode(values)),
        other => return Err(no_codec(name, other)),
    };
    encoded.map_err(unstorable)
}

/// Fails with the number of a finite element that would become infinite.
fn encode_f16(values: &[f32]) -> Result<Vec<u8>, usize> {
    let overflows = |value: &f32| value.is_finite() && f16::from_f32(*value).is_infinite();
    match values.iter().position(overflows) {
        Some(index) => Err(index),
        None => Ok(floats::write(values, FloatDType::F16)),
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
    let num_bytes = check_shape(name, ggml_type, shape)?;
    check_length(name, "bytes", num_bytes, bytes.len())?;
    Ok(match ggml_type {
        GgmlType::F32 => floats::values(bytes, FloatDType::F32),
        GgmlType::F16 => floats::values(bytes, FloatDType::F16),
        GgmlType::BF16 => floats::values(bytes, FloatDType::BF16),
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

    #[test]
    fn the_table_of_types_says_what_is_encoded_and_decoded() {
        for ggml_type in GgmlType::ALL {
            let len = ggml_type.block_len() as usize;
            let shape = shape(&[len]);
            let bytes = ggml_type.num_bytes(len as u64, 1).unwrap();
            let decoded = decode("w", ggml_type, shape, &vec![0; bytes as usize]);
            assert_eq!(decoded.is_ok(), ggml_type.is_decoded(), "{ggml_type}");
            assert!(decoded.is_err() || decoded.unwrap().len() == len);
            let encoded = encode("w", ggml_type, shape, &vec![0.0; len]);
            assert_eq!(encoded.is_ok(), ggml_type.has_codec(), "{ggml_type}");
            assert!(encoded.is_err() || encoded.unwrap().len() as u64 == bytes);
        }
    }

    #[test]
    fn many_blocks_are_decoded_in_their_order() {
        let values: Vec<f32> = (0..300_000).map(|i| (i % 2048) as f32).collect();
        let shape = shape(&[values.len()]);
        let bytes = encode("w", GgmlType::F16, shape, &values).unwrap();
        assert_eq!(decode("w", GgmlType::F16, shape, &bytes).unwrap(), values);
    }
}
