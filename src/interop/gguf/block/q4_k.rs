//! Q4_K and Q5_K: 256 codes of 4 or 5 bits in groups of 32, with a scale `s` and a minimum `n` of 6
//! bits of each group, `x = d s q - e n`.
//!
//! A block is `d` and `e` of half precision, 12 bytes of scales and minima, in Q5_K 32 bytes of fifth
//! bits, and 128 bytes of nibbles: the low ones of 32 bytes are a group, the high ones the next.

use super::base::{Block, half};
use crate::interop::gguf::GgmlType;

pub struct Q4_K;
pub struct Q5_K;

const GROUP: usize = 32;

impl Block for Q4_K {
    const TYPE: GgmlType = GgmlType::Q4_K;

    fn decode(block: &[u8], values: &mut [f32]) {
        decode_groups(block, &block[16..], |_, _| 0, values);
    }
}

impl Block for Q5_K {
    const TYPE: GgmlType = GgmlType::Q5_K;

    fn decode(block: &[u8], values: &mut [f32]) {
        let fifth = &block[16..48];
        let bit = |group: usize, i: usize| (fifth[i] >> group & 1) << 4;
        decode_groups(block, &block[48..], bit, values);
    }
}

#[inline(always)]
fn decode_groups(
    block: &[u8],
    nibbles: &[u8],
    fifth: impl Fn(usize, usize) -> u8,
    values: &mut [f32],
) {
    let (d, d_min) = (half(block, 0), half(block, 2));
    for (group, values) in values.chunks_exact_mut(GROUP).enumerate() {
        let (scale, min) = scale_and_min(&block[4..16], group);
        let (scale, min) = (d * f32::from(scale), d_min * f32::from(min));
        let bytes = &nibbles[group / 2 * GROUP..][..GROUP];
        for (i, (value, byte)) in values.iter_mut().zip(bytes).enumerate() {
            let code = byte >> (4 * (group % 2)) & 0xf | fifth(group, i);
            *value = scale * f32::from(code) - min;
        }
    }
}

/// Scale and minimum of a group. Those of the first four groups are the lower six bits of bytes 0 to 3
/// and 4 to 7; of the others the nibbles of bytes 8 to 11, with the upper bits of the first eight.
fn scale_and_min(bytes: &[u8], group: usize) -> (u8, u8) {
    match group.checked_sub(4) {
        None => (bytes[group] & 0x3f, bytes[4 + group] & 0x3f),
        Some(i) => (
            bytes[8 + i] & 0xf | bytes[i] >> 2 & 0x30,
            bytes[8 + i] >> 4 | bytes[4 + i] >> 2 & 0x30,
        ),
    }
}
