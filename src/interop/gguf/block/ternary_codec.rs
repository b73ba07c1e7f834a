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

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(n: usize) -> Vec<i8> {
        (0..n).map(|i| ((i * i / 3 + i) % 3) as i8 - 1).collect()
    }

    #[test]
    fn codes_and_scales_come_back() {
        let shape = GgufShape::from_row_major(&[2, 512]).unwrap();
        let codes = codes(1024);
        for ggml_type in [GgmlType::TQ1_0, GgmlType::TQ2_0] {
            let rows = TernaryScales::Rows(&[0.25, -3.0]);
            let bytes = encode_ternary("w", ggml_type, shape, &codes, rows).unwrap();
            let tensor = decode_ternary("w", ggml_type, shape, &bytes).unwrap();
            assert_eq!(tensor.codes(), codes);
            assert_eq!(tensor.scales(), [0.25, 0.25, -3.0, -3.0]);
            assert_eq!(tensor.row_scales(512), Some(vec![0.25, -3.0]));
            assert_eq!(tensor.tensor_scale(), None);
        }
        // 0.1 has no half, and I2_S stores a single.
        for (ggml_type, scale) in [(GgmlType::TQ2_0, 0.099975586), (GgmlType::I2_S, 0.1)] {
            let scales = TernaryScales::Tensor(0.1);
            let bytes = encode_ternary("w", ggml_type, shape, &codes, scales).unwrap();
            let tensor = decode_ternary("w", ggml_type, shape, &bytes).unwrap();
            assert_eq!(tensor.codes(), codes);
            assert_eq!(tensor.tensor_scale(), Some(scale));
        }
    }

    #[test]
    fn what_cannot_be_encoded() {
        let shape = GgufShape::from_row_major(&[2, 256]).unwrap();
        let encode = |ggml_type, codes: &[i8], scales| {
            let result = encode_ternary("w", ggml_type, shape, codes, scales);
            result.unwrap_err().to_string()
        };
        let (mut codes, tensor) = (codes(512), TernaryScales::Tensor);
        assert_eq!(
            encode(GgmlType::TQ1_0, &codes, TernaryScales::Rows(&[1.0])),
            "tensor `w`: TQ1_0 takes 2 scales, found 1"
        );
        for scale in [f32::NAN, 1e5, 1e-9] {
            let expected = format!("tensor `w`, number 0: TQ2_0 cannot hold {scale}");
            assert_eq!(encode(GgmlType::TQ2_0, &codes, tensor(scale)), expected);
        }
        assert!(encode(GgmlType::F16, &codes, tensor(1.0)).contains("F16"));
        codes[300] = 2;
        assert_eq!(
            encode(GgmlType::I2_S, &codes, tensor(1.0)),
            "tensor `w`, element 300: expected a code of -1, 0 or 1, found 2"
        );
    }

    #[test]
    fn a_fourth_digit_is_no_code() {
        let shape = GgufShape::from_row_major(&[256]).unwrap();
        for (ggml_type, bytes) in [(GgmlType::TQ2_0, 66), (GgmlType::I2_S, 96)] {
            let error = decode_ternary("w", ggml_type, shape, &vec![0xff; bytes]).unwrap_err();
            assert!(matches!(
                error,
                GgufError::Code {
                    index: 0,
                    found: 2,
                    ..
                }
            ));
        }
        // Every byte is five digits of TQ1_0; the scale is NaN.
        let error = decode_ternary("w", GgmlType::TQ1_0, shape, &[0xff; 54]).unwrap_err();
        assert!(matches!(error, GgufError::Unstorable { index: 0, .. }));
    }
}
