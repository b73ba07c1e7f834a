//! TQ2_0: four digits `code + 1` of two bits in a byte, the first in the lowest bits.
//!
//! Bytes 0 to 31 have the elements 0 to 127, of which byte `i` has `i`, `32 + i`, `64 + i` and
//! `96 + i`; bytes 32 to 63 have the others in the same way.
//!
//! ([ggml-org/llama.cpp#8151](https://github.com/ggml-org/llama.cpp/pull/8151))

use core::array::from_fn;

use super::ternary::{LEN, TernaryBlock};
use crate::interop::gguf::GgmlType;

/// Elements whose digits are that many bytes.
const WIDTH: usize = 32;

pub struct TQ2_0;

impl TernaryBlock for TQ2_0 {
    const TYPE: GgmlType = GgmlType::TQ2_0;

    fn pack(codes: &[i8; LEN], digits: &mut [u8]) {
        let halves = codes.as_chunks::<{ 4 * WIDTH }>().0;
        for (codes, bytes) in halves.iter().zip(digits.chunks_exact_mut(WIDTH)) {
            for (i, byte) in bytes.iter_mut().enumerate() {
                let digits = (0..4).map(|n| ((codes[n * WIDTH + i] + 1) as u8) << (2 * n));
                *byte = digits.fold(0, |byte, digit| byte | digit);
            }
        }
    }

    fn unpack(digits: &[u8]) -> [i8; LEN] {
        from_fn(|element| {
            let byte = digits[element / (4 * WIDTH) * WIDTH + element % WIDTH];
            let n = element % (4 * WIDTH) / WIDTH;
            (byte >> (2 * n) & 3) as i8 - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(codes: &[i8; LEN]) -> [u8; 64] {
        let mut bytes = [0; 64];
        TQ2_0::pack(codes, &mut bytes);
        bytes
    }

    #[test]
    fn known_bytes() {
        let codes: [i8; LEN] = core::array::from_fn(|i| [1, 0, -1, 0][i % 4]);
        let bytes = packed(&codes);
        assert_eq!(bytes[..4], [170, 85, 0, 85]);
        assert_eq!(TQ2_0::unpack(&bytes), codes);
    }

    #[test]
    fn every_element_has_its_bits() {
        for element in 0..LEN {
            let mut codes = [-1; LEN];
            codes[element] = 1;
            let bytes = packed(&codes);
            let place = 32 * (element / 128) + element % 32;
            let bits = 2u8 << (2 * (element % 128 / 32));
            assert_eq!(bytes[place], bits);
            assert_eq!(bytes.iter().filter(|&&byte| byte != 0).count(), 1);
            assert_eq!(TQ2_0::unpack(&bytes), codes);
        }
    }
}
