//! Q8_0: 32 codes of 8 bits behind a scale `d` of half precision.
//!
//! `d = max |x| / 127`, `code = round(x / d)`, ties away from zero; `x = code d`. The codes are made
//! with the scale of single precision, as `quantize_row_q8_0_ref` of ggml does.

use half::f16;

use super::ternary::largest;

const LEN: usize = 32;
const SCALE: usize = 2;
const BYTES: usize = SCALE + LEN;

/// Fails with the number of an element that makes the scale infinite.
pub fn encode(values: &[f32]) -> Result<Vec<u8>, usize> {
    let blocks = values.as_chunks::<LEN>().0;
    let mut bytes = Vec::with_capacity(blocks.len() * BYTES);
    for (i, block) in blocks.iter().enumerate() {
        let (place, max) = largest(block);
        let scale = max / 127.0;
        let half = f16::from_f32(scale);
        if half.is_infinite() {
            return Err(i * LEN + place);
        }
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        bytes.extend(half.to_le_bytes());
        bytes.extend(block.iter().map(|x| code(x * inverse) as u8));
    }
    Ok(bytes)
}

pub fn decode(bytes: &[u8]) -> Vec<f32> {
    let mut values = Vec::with_capacity(bytes.len() / BYTES * LEN);
    for block in bytes.as_chunks::<BYTES>().0 {
        let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
        values.extend(block[SCALE..].iter().map(|&byte| byte as i8 as f32 * scale));
    }
    values
}

/// Rounds, ties away from zero.
///
/// A block of numbers so small that `1 / d` is infinite gets zeros, as its scale is zero.
pub fn code(scaled: f32) -> i8 {
    if scaled.is_finite() {
        scaled.round() as i8
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_away_from_zero() {
        let mut values = [0.0; 32];
        values[..5].copy_from_slice(&[127.0, 0.5, -0.5, 1.49, -2.5]);
        let bytes = encode(&values).unwrap();
        assert_eq!(bytes[..2], [0, 0x3c]);
        let codes: Vec<i8> = bytes[2..7].iter().map(|&byte| byte as i8).collect();
        assert_eq!(codes, [127, 1, -1, 1, -3]);
        assert_eq!(decode(&bytes)[..5], [127.0, 1.0, -1.0, 1.0, -3.0]);
    }

    #[test]
    fn small_and_large_blocks() {
        assert_eq!(encode(&[0.0; 32]).unwrap(), [0; 34]);
        // 1 / d is infinite.
        assert_eq!(encode(&[1e-40; 32]).unwrap(), [0; 34]);
        assert!(encode(&[127.0 * 65504.0; 32]).is_ok());
        let mut values = [0.0; 64];
        values[40] = -1e7;
        assert_eq!(encode(&values), Err(40));
    }
}
