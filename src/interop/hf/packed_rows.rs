//! Ternary codes as transformers packs them, and as this crate does.
//!
//! Byte `[r, c]` of transformers holds the codes `t + 1` of the rows `r`, `r + R`, `r + 2 R` and
//! `r + 3 R` of a column, the first in the lowest bits, with `R = ceil(d_output / 4)`; see
//! `pack_weights` in its `integrations/bitnet.py`. Words of this crate hold sixteen columns of one row.

use rayon::prelude::*;

use crate::ops::packing::{CODES_PER_WORD, ZERO_WORD, words_per_row};

/// The words of a matrix `[d_output, d_input]` of a file, or the first byte with a code that is none.
pub(super) fn to_words(bytes: &[u8], shape: [usize; 2]) -> Result<Vec<u32>, usize> {
    let [d_output, d_input] = shape;
    if let Some(place) = first_wrong(bytes) {
        return Err(place);
    }
    let words_per_row = words_per_row(d_input);
    let mut words = vec![ZERO_WORD; d_output * words_per_row];
    if words.is_empty() {
        return Ok(words);
    }
    let packed_rows = d_output.div_ceil(4);
    let rows = words.par_chunks_mut(words_per_row).enumerate();
    rows.for_each(|(row, words)| {
        let (slot, packed) = (row / packed_rows, row % packed_rows);
        let bytes = &bytes[packed * d_input..(packed + 1) * d_input];
        let (whole, rest) = bytes.as_chunks::<CODES_PER_WORD>();
        for (word, bytes) in words.iter_mut().zip(whole) {
            let (low, high) = bytes.split_at(8);
            *word = codes_of(low, slot) | codes_of(high, slot) << 16;
        }
        for (i, byte) in rest.iter().enumerate() {
            let code = u32::from(byte >> (2 * slot) & 3);
            let word = &mut words[whole.len()];
            *word = *word & !(3 << (2 * i)) | code << (2 * i);
        }
    });
    Ok(words)
}

/// The first byte with code 3, which has both bits.
fn first_wrong(bytes: &[u8]) -> Option<usize> {
    const BLOCK: usize = 1 << 12;
    let is_wrong = |byte: &u8| byte & (byte >> 1) & 0x55 != 0;
    // Without an end in the middle, a block is looked at many bytes at a time.
    let any = |block: &[u8]| block.iter().fold(0, |any, b| any | b & (b >> 1) & 0x55) != 0;
    let mut blocks = bytes.chunks(BLOCK).enumerate();
    let (i, block) = blocks.find(|(_, block)| any(block))?;
    Some(i * BLOCK + block.iter().position(is_wrong)?)
}

/// The codes of a slot of eight bytes, side by side in 16 bits.
fn codes_of(bytes: &[u8], slot: usize) -> u32 {
    let bytes = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let x = bytes >> (2 * slot) & 0x0303_0303_0303_0303;
    let x = (x | x >> 6) & 0x000f_000f_000f_000f;
    let x = (x | x >> 12) & 0x0000_00ff_0000_00ff;
    ((x | x >> 24) & 0xffff) as u32
}

/// The bytes of a file for the words of a matrix `[d_output, d_input]`.
pub(super) fn from_words(words: &[u32], shape: [usize; 2]) -> Vec<u8> {
    let [d_output, d_input] = shape;
    let words_per_row = words_per_row(d_input);
    let packed_rows = d_output.div_ceil(4);
    let mut bytes = vec![0; packed_rows * d_input];
    for row in 0..d_output {
        let (slot, packed) = (row / packed_rows, row % packed_rows);
        let words = &words[row * words_per_row..(row + 1) * words_per_row];
        let bytes = &mut bytes[packed * d_input..(packed + 1) * d_input];
        for (bytes, word) in bytes.chunks_mut(CODES_PER_WORD).zip(words) {
            for (i, byte) in bytes.iter_mut().enumerate() {
                *byte |= ((word >> (2 * i) & 3) as u8) << (2 * slot);
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use crate::ops::packing::pack_rows;

    use super::*;

    /// Computed by `pack_weights` of transformers.
    const ROWS: [i8; 24] = [
        1, 0, -1, 0, 1, 1, -1, -1, 0, 1, 1, 1, 0, 0, -1, -1, 1, 0, 1, -1, 1, 0, -1, -1,
    ];
    const BYTES: [u8; 6] = [146, 17, 132, 73, 42, 26];

    #[test]
    fn words_and_bytes_of_transformers_are_each_other() {
        let words = pack_rows(&ROWS, 3);
        assert_eq!(to_words(&BYTES, [8, 3]).unwrap(), words);
        assert_eq!(from_words(&words, [8, 3]), BYTES);
    }

    #[test]
    fn rows_that_four_does_not_divide_and_long_rows() {
        let codes: Vec<i8> = (0..5 * 37).map(|i| (i * 7 % 3) as i8 - 1).collect();
        let words = pack_rows(&codes, 37);
        let bytes = from_words(&words, [5, 37]);
        assert_eq!(bytes.len(), 2 * 37);
        assert_eq!(to_words(&bytes, [5, 37]).unwrap(), words);
    }

    #[test]
    fn a_code_that_is_none_is_found() {
        assert_eq!(to_words(&[0x55, 0x35], [4, 2]), Err(1));
    }
}
