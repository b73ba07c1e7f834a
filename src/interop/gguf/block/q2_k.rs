//! Q2_K and Q3_K: 256 codes of 2 or 3 bits in groups of 16, with a scale of each group.
//!
//! | type | bytes | value |
//! |---|---|---|
//! | Q2_K | 16 of scales `s` and minima `n` of 4 bits, 64 of codes, `d`, `e` | `d s q - e n` |
//! | Q3_K | 32 of third bits, 64 of codes, 12 of scales `s` of 6 bits, `d` | `d (s - 32) (q - 4 (1 - third))` |
//!
//! Byte `i` of 32 bytes of codes has the elements `i`, `32 + i`, `64 + i` and `96 + i`, in its lowest
//! bits first; the other 32 bytes are the elements from 128 on.

use super::base::{Block, half};
use crate::interop::gguf::GgmlType;

pub struct Q2_K;
pub struct Q3_K;

const GROUP: usize = 16;

/// The two bits of an element of 64 bytes of them.
fn two_bits(codes: &[u8], element: usize) -> u8 {
    let byte = codes[element / 128 * 32 + element % 32];
    byte >> (2 * (element % 128 / 32)) & 3
}

impl Block for Q2_K {
    const TYPE: GgmlType = GgmlType::Q2_K;

    fn decode(block: &[u8], values: &mut [f32]) {
        let (scales, rest) = block.split_at(16);
        let codes = &rest[..64];
        let (d, d_min) = (half(block, 80), half(block, 82));
        for (group, values) in values.chunks_exact_mut(GROUP).enumerate() {
            let scale = d * f32::from(scales[group] & 0xf);
            let min = d_min * f32::from(scales[group] >> 4);
            for (i, value) in values.iter_mut().enumerate() {
                *value = scale * f32::from(two_bits(codes, group * GROUP + i)) - min;
            }
        }
    }
}

impl Block for Q3_K {
    const TYPE: GgmlType = GgmlType::Q3_K;

    fn decode(block: &[u8], values: &mut [f32]) {
        let (third, rest) = block.split_at(32);
        let (codes, scales) = (&rest[..64], &rest[64..76]);
        let d = half(block, 108);
        for (group, values) in values.chunks_exact_mut(GROUP).enumerate() {
            let scale = d * f32::from(six_bits(scales, group) as i8 - 32);
            for (i, value) in values.iter_mut().enumerate() {
                let element = group * GROUP + i;
                let missing = (third[element % 32] >> (element / 32) & 1) ^ 1;
                let code = two_bits(codes, element) as i8 - (missing << 2) as i8;
                *value = scale * f32::from(code);
            }
        }
    }
}

/// A scale of Q3_K: the lower four bits of 16 scales are the nibbles of 8 bytes, the low ones first,
/// and their upper two bits are in the other 4 bytes, four scales apart.
fn six_bits(scales: &[u8], group: usize) -> u8 {
    let lower = scales[group % 8] >> (4 * (group / 8)) & 0xf;
    let upper = scales[8 + group % 4] >> (2 * (group / 4)) & 3;
    lower | upper << 4
}
