//! GGUF's blocks against the Python package `gguf` 0.19.0, byte for byte.
//!
//! `e_gguf_tq.safetensors` holds the weights of each case, and the bytes and dequantized numbers of
//! TQ1_0 and TQ2_0 computed by `gguf.quants.quantize` and `dequantize`.

use bitnet_burn::interop::gguf::{GgmlType, GgufShape, TernaryScales, encode, encode_ternary};
use safetensors::SafeTensors;

use super::file::{decode, file_of};
use crate::support::oracle::data_path;

/// Weights of a case, with their encodings.
struct Case {
    name: String,
    shape: GgufShape,
    weight: Vec<f32>,
    /// Type, bytes, dequantized numbers.
    quantized: Vec<(GgmlType, Vec<u8>, Vec<f32>)>,
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let words = bytes.as_chunks().0.iter();
    words.map(|&word| f32::from_le_bytes(word)).collect()
}

fn cases() -> Vec<Case> {
    let bytes = std::fs::read(data_path("e_gguf_tq.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let names = file.names().into_iter();
    let names = names.filter_map(|name| name.strip_suffix(".weight"));
    let case = |name: &str| {
        let tensor = |suffix: &str| file.tensor(&format!("{name}.{suffix}")).unwrap();
        let types = [("tq1_0", GgmlType::TQ1_0), ("tq2_0", GgmlType::TQ2_0)];
        Case {
            name: name.to_string(),
            shape: GgufShape::from_row_major(tensor("weight").shape()).unwrap(),
            weight: floats(tensor("weight").data()),
            quantized: types
                .map(|(prefix, ggml_type)| {
                    let bytes = tensor(&format!("{prefix}.bytes")).data().to_vec();
                    let dequant = floats(tensor(&format!("{prefix}.dequant")).data());
                    (ggml_type, bytes, dequant)
                })
                .into(),
        }
    };
    names.map(case).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn bytes_and_numbers_are_those_of_the_package() {
    let cases = cases();
    assert_eq!(cases.len(), 7);
    for case in &cases {
        for (ggml_type, bytes, dequant) in &case.quantized {
            let encoded = encode(&case.name, *ggml_type, case.shape, &case.weight).unwrap();
            assert_eq!(&encoded, bytes, "{} {ggml_type}", case.name);
            let decoded = decode(*ggml_type, case.shape, bytes).unwrap();
            assert_eq!(bits(&decoded), bits(dequant), "{} {ggml_type}", case.name);
        }
    }
}

#[test]
fn codes_and_scales_are_the_numbers() {
    for case in cases() {
        for (ggml_type, bytes, dequant) in case.quantized {
            let reader = file_of(ggml_type, case.shape, &bytes).unwrap();
            let tensor = reader.tensor("w").unwrap().decode_ternary().unwrap();
            let scales = tensor.scales().iter();
            let scales = scales.flat_map(|&scale| std::iter::repeat_n(scale, 256));
            let products = scales
                .zip(tensor.codes())
                .map(|(s, &code)| s * f32::from(code));
            assert_eq!(
                bits(&products.collect::<Vec<_>>()),
                bits(&dequant),
                "{}",
                case.name
            );
        }
    }
}

#[test]
fn codes_with_one_scale_are_encoded_as_their_product() {
    for case in cases() {
        for (ggml_type, bytes, _) in case.quantized {
            let reader = file_of(ggml_type, case.shape, &bytes).unwrap();
            let tensor = reader.tensor("w").unwrap().decode_ternary().unwrap();
            let row_len = case.shape.row_len() as usize;
            let Some(scales) = tensor.row_scales(row_len) else {
                continue;
            };
            // A block of zeros has no scale of its own when it is encoded from numbers.
            if tensor.scales().contains(&0.0) {
                continue;
            }
            let scales = TernaryScales::Rows(&scales);
            let again = encode_ternary("w", ggml_type, case.shape, tensor.codes(), scales).unwrap();
            assert_eq!(again, bytes, "{} {ggml_type}", case.name);
        }
    }
}

/// Returns the types of a file of `gguf_blocks.py`, with their bytes and numbers.
fn quantized(file: &[u8]) -> Vec<(GgmlType, Vec<u8>, Vec<f32>)> {
    let file = SafeTensors::deserialize(file).unwrap();
    let types = (0..64).filter_map(GgmlType::from_id);
    let types = types.filter_map(|ggml_type| {
        let tensor = |part: &str| file.tensor(&format!("{ggml_type}.{part}"));
        let bytes = tensor("bytes").ok()?.data().to_vec();
        Some((ggml_type, bytes, floats(tensor("values").unwrap().data())))
    });
    types.collect()
}

/// Compares all bits except those of NaN, which depend on the processor.
#[test]
fn quantized_types_decode_to_the_numbers_of_the_package() {
    let file = std::fs::read(data_path("gguf_blocks.safetensors")).unwrap();
    let types = quantized(&file);
    assert_eq!(types.len(), 12);
    for (ggml_type, bytes, expected) in types {
        assert!(ggml_type.is_decoded(), "{ggml_type}");
        let shape = GgufShape::from_row_major(&[1, expected.len()]).unwrap();
        let decoded = decode(ggml_type, shape, &bytes).unwrap();
        for (i, (found, expected)) in decoded.iter().zip(&expected).enumerate() {
            let same = found.to_bits() == expected.to_bits();
            let nan = found.is_nan() && expected.is_nan();
            assert!(same || nan, "{ggml_type}, {i}: {found} for {expected}");
        }
        assert!(expected.iter().any(|value| value.is_nan()));
    }
}
