//! I2_S of bitnet.cpp: four digits `code + 1` of two bits in a byte, the first in the highest bits,
//! and 32 bytes at the end of the tensor that begin with its scale of single precision.
//!
//! 128 elements take 32 bytes, of which byte `i` has the elements `i`, `32 + i`, `64 + i` and
//! `96 + i`. This is the layout of the x86 build
//! ([ggml-bitnet-mad.cpp](https://github.com/microsoft/BitNet/blob/main/src/ggml-bitnet-mad.cpp)),
//! which published files have; the ARM build's own quantizer packs 64 elements into 16 bytes, and
//! its files cannot be told from these.
//!
//! The scale is the tensor's, so that blocks have no values of their own: it is no
//! [`Block`](super::base::Block).

use super::{TernaryTensor, base::largest};
use crate::interop::gguf::GgmlType;

const LEN: usize = 128;
const WIDTH: usize = 32;
/// bitnet.cpp takes weights below for zero.
const ZERO: f64 = 1e-6;

/// Encodes as `quantize_i2_s`: the scale is `max |x|`, the codes are signs.
pub fn encode(values: &[f32]) -> Vec<u8> {
    let codes: Vec<i8> = values
        .iter()
        .map(|&x| {
            if f64::from(x.abs()) < ZERO {
                0
            } else {
                x.signum() as i8
            }
        })
        .collect();
    encode_codes(&codes, largest(values).1)
}

pub fn decode(bytes: &[u8]) -> Vec<f32> {
    let tensor = decode_codes(bytes);
    let scale = tensor.scales()[0];
    tensor
        .codes()
        .iter()
        .map(|&code| f32::from(code) * scale)
        .collect()
}

pub fn encode_codes(codes: &[i8], scale: f32) -> Vec<u8> {
    let tail = GgmlType::I2_S_TAIL as usize;
    let mut bytes = Vec::with_capacity(codes.len() / 4 + tail);
    for block in codes.as_chunks::<LEN>().0 {
        bytes.extend((0..WIDTH).map(|i| {
            let digits = (0..4).map(|n| ((block[n * WIDTH + i] + 1) as u8) << (6 - 2 * n));
            digits.fold(0, |byte, digit| byte | digit)
        }));
    }
    bytes.extend(scale.to_le_bytes());
    bytes.resize(codes.len() / 4 + tail, 0);
    bytes
}

/// Codes and scale of bytes that have at least the tail.
pub fn decode_codes(bytes: &[u8]) -> TernaryTensor {
    let (digits, tail) = bytes.split_at(bytes.len() - GgmlType::I2_S_TAIL as usize);
    let codes: Vec<i8> = digits
        .as_chunks::<WIDTH>()
        .0
        .iter()
        .flat_map(|block| {
            (0..4).flat_map(move |n| block.map(|byte| (byte >> (6 - 2 * n) & 3) as i8 - 1))
        })
        .collect();
    let scale = f32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
    let mut tensor = TernaryTensor::with_capacity(codes.len(), codes.len().max(1));
    tensor.push(&codes, scale);
    tensor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_element_has_the_highest_bits() {
        let mut codes = vec![-1; 256];
        codes[0] = 1;
        codes[33] = 0;
        codes[255] = 1;
        let bytes = encode_codes(&codes, 0.75);
        assert_eq!(bytes.len(), 64 + 32);
        assert_eq!((bytes[0], bytes[1], bytes[63]), (0x80, 0x10, 0x02));
        assert_eq!(bytes[64..68], 0.75f32.to_le_bytes());
        assert!(bytes[68..].iter().all(|&byte| byte == 0));
        let tensor = decode_codes(&bytes);
        assert_eq!(
            (tensor.codes(), tensor.scales()),
            (&codes[..], &[0.75f32][..])
        );
    }

    #[test]
    fn signs_and_the_largest() {
        let mut values = [0.0; 128];
        values[..4].copy_from_slice(&[0.1, -0.5, 1e-7, 2e-6]);
        let decoded = decode(&encode(&values));
        assert_eq!(decoded[..5], [0.5, -0.5, 0.0, 0.5, 0.0]);
    }
}
