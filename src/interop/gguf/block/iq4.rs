//! IQ4_NL and IQ4_XS: codes of 4 bits that stand for uneven levels.
//!
//! A block of IQ4_NL has 32 elements behind a scale `d` of half precision, `x = d level(q)`. One of
//! IQ4_XS has 256, in groups of 32 with a scale `s` of 6 bits each, `x = d (s - 32) level(q)`: `d`,
//! two bytes of the upper two bits of the scales, four of their lower four bits, the nibbles.

use super::{
    base::{Block, half},
    q4,
};
use crate::interop::gguf::GgmlType;

pub struct IQ4_NL;
pub struct IQ4_XS;

const LEVELS: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

fn level(nibble: u8) -> f32 {
    f32::from(LEVELS[usize::from(nibble)])
}

impl Block for IQ4_NL {
    const TYPE: GgmlType = GgmlType::IQ4_NL;

    fn decode(block: &[u8], values: &mut [f32]) {
        let d = half(block, 0);
        q4::decode_nibbles(&block[2..], |_, nibble| d * level(nibble), values);
    }
}

impl Block for IQ4_XS {
    const TYPE: GgmlType = GgmlType::IQ4_XS;

    fn decode(block: &[u8], values: &mut [f32]) {
        let d = half(block, 0);
        let upper = u16::from_le_bytes([block[2], block[3]]);
        for (i, values) in values.chunks_exact_mut(q4::LEN).enumerate() {
            let lower = block[4 + i / 2] >> (4 * (i % 2)) & 0xf;
            let scale = lower | ((upper >> (2 * i) & 3) as u8) << 4;
            let scaled = d * f32::from(scale as i8 - 32);
            let nibbles = &block[8 + 16 * i..][..16];
            q4::decode_nibbles(nibbles, |_, nibble| scaled * level(nibble), values);
        }
    }
}
