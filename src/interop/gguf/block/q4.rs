//! Q4_0, Q4_1, Q5_0 and Q5_1: 32 codes of 4 or 5 bits behind a scale `d` of half precision, and a
//! minimum `m` in the types that end in 1.
//!
//! | type | bytes | value |
//! |---|---|---|
//! | Q4_0 | `d`, 16 of nibbles | `d (q - 8)` |
//! | Q4_1 | `d`, `m`, 16 of nibbles | `d q + m` |
//! | Q5_0 | `d`, 4 of fifth bits, 16 of nibbles | `d (q - 16)` |
//! | Q5_1 | `d`, `m`, 4 of fifth bits, 16 of nibbles | `d q + m` |
//!
//! The low nibbles are the first half of the block, the high ones the second.

use super::base::{Block, half};
use crate::interop::gguf::GgmlType;

pub struct Q4_0;
pub struct Q4_1;
pub struct Q5_0;
pub struct Q5_1;

/// Elements of a block.
pub const LEN: usize = 32;

impl Block for Q4_0 {
    const TYPE: GgmlType = GgmlType::Q4_0;

    fn decode(block: &[u8], values: &mut [f32]) {
        let d = half(block, 0);
        decode_nibbles(
            &block[2..],
            |_, nibble| d * f32::from(nibble as i8 - 8),
            values,
        );
    }
}

impl Block for Q4_1 {
    const TYPE: GgmlType = GgmlType::Q4_1;

    fn decode(block: &[u8], values: &mut [f32]) {
        let (d, m) = (half(block, 0), half(block, 2));
        decode_nibbles(&block[4..], |_, nibble| d * f32::from(nibble) + m, values);
    }
}

impl Block for Q5_0 {
    const TYPE: GgmlType = GgmlType::Q5_0;

    fn decode(block: &[u8], values: &mut [f32]) {
        let d = half(block, 0);
        let fifth = fifth_bits([block[2], block[3], block[4], block[5]]);
        let value = |i, nibble| d * f32::from((nibble | fifth(i)) as i8 - 16);
        decode_nibbles(&block[6..], value, values);
    }
}

impl Block for Q5_1 {
    const TYPE: GgmlType = GgmlType::Q5_1;

    fn decode(block: &[u8], values: &mut [f32]) {
        let (d, m) = (half(block, 0), half(block, 2));
        let fifth = fifth_bits([block[4], block[5], block[6], block[7]]);
        let value = |i, nibble| d * f32::from(nibble | fifth(i)) + m;
        decode_nibbles(&block[8..], value, values);
    }
}

/// The fifth bit of an element, where it stands in the code.
fn fifth_bits(bytes: [u8; 4]) -> impl Fn(usize) -> u8 {
    let bits = u32::from_le_bytes(bytes);
    move |i| (bits >> i & 1) as u8 * 16
}

/// Goes through 16 bytes of nibbles; `value` gets the number of the element and the nibble.
pub fn decode_nibbles(nibbles: &[u8], value: impl Fn(usize, u8) -> f32, values: &mut [f32]) {
    let (first, second) = values.split_at_mut(LEN / 2);
    for (i, ((byte, first), second)) in nibbles.iter().zip(first).zip(second).enumerate() {
        *first = value(i, byte & 0xf);
        *second = value(LEN / 2 + i, byte >> 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halves_of_a_block_are_the_nibbles() {
        let mut block = [0; 24];
        // d = 1, m = 2, the fifth bit of element 17, nibbles 3 and 1.
        block[..9].copy_from_slice(&[0, 0x3c, 0, 0x40, 0, 0, 2, 0, 0x13]);
        let mut values = [0.0; LEN];
        Q5_1::decode(&block, &mut values);
        assert_eq!((values[0], values[16], values[17]), (5.0, 3.0, 18.0));
    }
}
