//! Q6_K: 256 codes of 6 bits in groups of 16, with a scale `s` of 8 bits of each group,
//! `x = d s (q - 32)`.
//!
//! A block is 128 bytes of nibbles, 64 bytes of upper bits, 16 scales and `d` of half precision. Of
//! 128 elements, the low nibbles of 64 bytes are the first half and the high ones the second; byte `i`
//! of 32 bytes of upper bits has those of `i`, `32 + i`, `64 + i` and `96 + i`.

use super::base::{Block, half};
use crate::interop::gguf::GgmlType;

pub struct Q6_K;

const GROUP: usize = 16;

impl Block for Q6_K {
    const TYPE: GgmlType = GgmlType::Q6_K;

    fn decode(block: &[u8], values: &mut [f32]) {
        let (nibbles, rest) = block.split_at(128);
        let (upper, scales) = rest.split_at(64);
        let d = half(block, 208);
        for (group, values) in values.chunks_exact_mut(GROUP).enumerate() {
            let scale = d * f32::from(scales[group] as i8);
            for (i, value) in values.iter_mut().enumerate() {
                let element = group * GROUP + i;
                let (part, place) = (element / 128, element % 128);
                let lower = nibbles[part * 64 + place % 64] >> (4 * (place / 64)) & 0xf;
                let upper = upper[part * 32 + place % 32] >> (2 * (place / 32)) & 3;
                *value = scale * f32::from((lower | upper << 4) as i8 - 32);
            }
        }
    }
}
