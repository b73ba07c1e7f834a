//! Q8_0: 32 codes of 8 bits behind a scale `d` of half precision.
//!
//! `d = max |x| / 127`, `code = round(x / d)`, ties away from zero; `x = code d`. The codes are made
//! with the scale of single precision, as `quantize_row_q8_0_ref` of ggml does.

use super::base::{Block, EncodableBlock, half, largest, round, scale};
use crate::interop::gguf::GgmlType;

/// Bytes of the scale.
const SCALE: usize = 2;

pub struct Q8_0;

impl Block for Q8_0 {
    const TYPE: GgmlType = GgmlType::Q8_0;

    fn decode(block: &[u8], values: &mut [f32]) {
        let scale = half(block, 0);
        for (value, byte) in values.iter_mut().zip(&block[SCALE..]) {
            *value = f32::from(*byte as i8) * scale;
        }
    }
}

impl EncodableBlock for Q8_0 {
    fn encode(values: &[f32], block: &mut [u8]) -> Result<(), usize> {
        let (place, max) = largest(values);
        let (half, inverse) = scale(place, max / 127.0)?;
        block[..SCALE].copy_from_slice(&half.to_le_bytes());
        for (byte, x) in block[SCALE..].iter_mut().zip(values) {
            *byte = round(x * inverse) as u8;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::base::{decode_blocks, encode_blocks},
        *,
    };

    fn encode(values: &[f32]) -> Result<Vec<u8>, usize> {
        encode_blocks::<Q8_0>(values)
    }

    #[test]
    fn ties_go_away_from_zero() {
        let mut values = [0.0; 32];
        values[..5].copy_from_slice(&[127.0, 0.5, -0.5, 1.49, -2.5]);
        let bytes = encode(&values).unwrap();
        assert_eq!(bytes[..2], [0, 0x3c]);
        let codes: Vec<i8> = bytes[2..7].iter().map(|&byte| byte as i8).collect();
        assert_eq!(codes, [127, 1, -1, 1, -3]);
        assert_eq!(
            decode_blocks::<Q8_0>(&bytes)[..5],
            [127.0, 1.0, -1.0, 1.0, -3.0]
        );
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
