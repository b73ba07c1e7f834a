//! Values and codes of tensors, encoded, and decoded from files.

use bitnet_burn::interop::gguf::{
    GgmlType, GgufError, GgufReader, GgufShape, TernaryScales, encode, encode_ternary,
};

use super::file::{decode, file_of, shape};

fn reader(ggml_type: GgmlType, shape: GgufShape, bytes: &[u8]) -> GgufReader {
    file_of(ggml_type, shape, bytes).unwrap()
}

#[test]
fn values_that_cannot_be_encoded_are_named() {
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
        let decoded = decode(ggml_type, shape(&[5]), &bytes).unwrap();
        let bf16 = ggml_type == GgmlType::BF16;
        assert_eq!(decoded[3], if bf16 { 65536.0 } else { 65504.0 });
        assert_eq!(decoded[..3], values[..3]);
        assert!(decoded[1].is_sign_negative() && decoded[4] == values[4]);
        assert!(decode(ggml_type, shape(&[4]), &bytes).is_err());
    }
}

#[test]
fn the_table_of_types_says_what_is_encoded_and_decoded() {
    for ggml_type in (0..64).filter_map(GgmlType::from_id) {
        let len = ggml_type.block_len() as usize;
        let shape = shape(&[len]);
        let bytes = ggml_type.num_bytes(len as u64, 1).unwrap();
        let decoded = decode(ggml_type, shape, &vec![0; bytes as usize]);
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
    assert_eq!(decode(GgmlType::F16, shape, &bytes).unwrap(), values);
}

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
        let tensor = reader(ggml_type, shape, &bytes)
            .tensor("w")
            .unwrap()
            .decode_ternary()
            .unwrap();
        assert_eq!(tensor.codes(), codes);
        assert_eq!(tensor.scales(), [0.25, 0.25, -3.0, -3.0]);
        assert_eq!(tensor.row_scales(512), Some(vec![0.25, -3.0]));
        assert_eq!(tensor.tensor_scale(), None);
    }
    // 0.1 has no half, and I2_S stores a single.
    for (ggml_type, scale) in [(GgmlType::TQ2_0, 0.099975586), (GgmlType::I2_S, 0.1)] {
        let scales = TernaryScales::Tensor(0.1);
        let bytes = encode_ternary("w", ggml_type, shape, &codes, scales).unwrap();
        let tensor = reader(ggml_type, shape, &bytes)
            .tensor("w")
            .unwrap()
            .decode_ternary()
            .unwrap();
        assert_eq!(tensor.codes(), codes);
        assert_eq!(tensor.tensor_scale(), Some(scale));
    }
}

#[test]
fn codes_that_cannot_be_encoded_are_named() {
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
        let error = reader(ggml_type, shape, &vec![0xff; bytes])
            .tensor("w")
            .unwrap()
            .decode_ternary()
            .unwrap_err();
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
    let error = reader(GgmlType::TQ1_0, shape, &[0xff; 54])
        .tensor("w")
        .unwrap()
        .decode_ternary()
        .unwrap_err();
    assert!(matches!(error, GgufError::Unstorable { index: 0, .. }));
}

#[test]
fn bytes_of_tensors() {
    assert_eq!(GgmlType::TQ2_0.num_bytes(512, 3), Some(396));
    assert_eq!(GgmlType::TQ1_0.num_bytes(256, 4), Some(216));
    assert_eq!(GgmlType::Q8_0.num_bytes(48, 2), None);
    // Two rows share a block of I2_S.
    assert_eq!(GgmlType::I2_S.num_bytes(64, 2), Some(64));
    assert_eq!(GgmlType::I2_S.num_bytes(64, 3), None);
    assert_eq!(GgmlType::F64.num_bytes(1 << 61, 1), None);
    assert_eq!(GgmlType::F32.num_bytes(1 << 40, 1 << 40), None);
}
