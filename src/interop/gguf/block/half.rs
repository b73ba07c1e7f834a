//! F16 and BF16: numbers of half precision, each on its own.

use half::{bf16, f16};

use super::codec::words;

/// Rounds to the nearest, ties to even; fails with the number of an element that would become
/// infinite.
pub fn encode_f16(values: &[f32]) -> Result<Vec<u8>, usize> {
    let mut bytes = Vec::with_capacity(2 * values.len());
    for (i, &value) in values.iter().enumerate() {
        let half = f16::from_f32(value);
        if half.is_infinite() && value.is_finite() {
            return Err(i);
        }
        bytes.extend(half.to_le_bytes());
    }
    Ok(bytes)
}

pub fn decode_f16(bytes: &[u8]) -> Vec<f32> {
    let words = words(bytes);
    words
        .map(|word| f16::from_le_bytes(word).to_f32())
        .collect()
}

/// Rounds to the nearest, ties to even; NaN stays NaN.
pub fn encode_bf16(values: &[f32]) -> Vec<u8> {
    let halves = values.iter().map(|&value| bf16::from_f32(value));
    halves.flat_map(|half| half.to_le_bytes()).collect()
}

pub fn decode_bf16(bytes: &[u8]) -> Vec<f32> {
    let words = words(bytes);
    words
        .map(|word| bf16::from_le_bytes(word).to_f32())
        .collect()
}
