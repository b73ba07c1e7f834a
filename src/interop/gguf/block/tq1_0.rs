//! TQ1_0: five ternary digits in a byte.
//!
//! Digits `t = code + 1` make `v = 81 t0 + 27 t1 + 9 t2 + 3 t3 + t4`, which is stored as
//! `ceil(256 v / 243)`. So the byte is the fraction `v / 243` in fixed point, and a digit is what
//! goes over 256 when it is multiplied by 3: decoding takes no division.
//!
//! | elements | bytes | digits in a byte |
//! |---|---|---|
//! | 0 to 159 | 0 to 31 | 5, of the elements `i`, `32 + i`, ... of byte `i` |
//! | 160 to 239 | 32 to 47 | 5, 16 elements apart |
//! | 240 to 255 | 48 to 51 | 4, 4 elements apart; the fifth is 0 |
//!
//! ([ggml-org/llama.cpp#8151](https://github.com/ggml-org/llama.cpp/pull/8151))

use super::ternary::{LEN, TernaryBlock};
use crate::interop::gguf::GgmlType;

/// Elements that are spread over some bytes: the first element, the bytes, digits in a byte.
const GROUPS: [(usize, core::ops::Range<usize>, usize); 3] =
    [(0, 0..32, 5), (160, 32..48, 5), (240, 48..52, 4)];

/// Weights of the digits.
const POWERS: [u16; 5] = [81, 27, 9, 3, 1];

pub struct TQ1_0;

impl TernaryBlock for TQ1_0 {
    const TYPE: GgmlType = GgmlType::TQ1_0;

    fn pack(codes: &[i8; LEN], bytes: &mut [u8]) {
        for (first, places, digits) in GROUPS {
            let width = places.len();
            for (i, byte) in bytes[places].iter_mut().enumerate() {
                let digit = |n: usize| (codes[first + n * width + i] + 1) as u16;
                let value: u16 = (0..digits).map(|n| POWERS[n] * digit(n)).sum();
                *byte = (value * 256).div_ceil(243) as u8;
            }
        }
    }

    fn unpack(bytes: &[u8]) -> [i8; LEN] {
        let mut codes = [0; LEN];
        for (first, places, digits) in GROUPS {
            let width = places.len();
            for (i, &byte) in bytes[places].iter().enumerate() {
                let mut fraction = byte;
                for n in 0..digits {
                    let product = u16::from(fraction) * 3;
                    codes[first + n * width + i] = (product >> 8) as i8 - 1;
                    fraction = product as u8;
                }
            }
        }
        codes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(codes: &[i8; LEN]) -> [u8; 52] {
        let mut bytes = [0; 52];
        TQ1_0::pack(codes, &mut bytes);
        bytes
    }

    #[test]
    fn known_bytes() {
        let codes: [i8; LEN] = core::array::from_fn(|i| [1, 0, -1, 0][i % 4]);
        let bytes = packed(&codes);
        assert_eq!(bytes[..4], [255, 128, 0, 128]);
        assert_eq!(TQ1_0::unpack(&bytes), codes);
    }

    #[test]
    fn all_groups_of_digits_come_back() {
        for value in 0..243u16 {
            let codes: [i8; LEN] = core::array::from_fn(|i| {
                let n = [i / 32, (i.max(160) - 160) / 16, (i.max(240) - 240) / 4];
                let n = n[usize::from(i >= 160) + usize::from(i >= 240)];
                (value / POWERS[n] % 3) as i8 - 1
            });
            let bytes = packed(&codes);
            assert_eq!(TQ1_0::unpack(&bytes), codes, "{value}");
        }
    }
}
