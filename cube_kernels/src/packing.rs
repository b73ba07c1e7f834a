//! The bit layout of packed ternary weights.
//!
//! A ternary value `t` in {-1, 0, +1} is stored as the 2-bit code `t + 1`; code 3 is not used.
//! Codes run along the **last dimension**: value `i` of a row lies in word `i / 16` of the row at
//! bits `2 * (i % 16)`, lowest bits first.
//!
//! ```text
//! u32 word w of a row: | v[16w+15] | .. | v[16w+1] | v[16w] |
//!                      bit 31 30          3 2        1 0
//! ```
//!
//! Stored little-endian, the same codes read as bytes hold four values each, value `i` in byte
//! `i / 4` at bits `2 * (i % 4)`: the byte form and the word form are one layout.
//!
//! Each row starts a new word, so a tensor `[.., n]` packs into `[.., ceil(n / 16)]` words, and every
//! row can be read independently. The values beyond `n` in a row's last word are code 1, which is zero:
//! they add nothing to a dot product over whole words.

/// Number of ternary codes in a `u32` word.
pub const CODES_PER_WORD: usize = 16;

/// Number of bits of a code.
pub const BITS_PER_CODE: usize = 2;

/// A word of sixteen zeros, used as padding after the end of a row.
pub const ZERO_WORD: u32 = 0x5555_5555;

/// Returns the number of words for a row of `values` ternary values.
pub fn words_per_row(values: usize) -> usize {
    values.div_ceil(CODES_PER_WORD)
}

/// Returns the number of words for a row of `values` 8-bit codes: four in each, in two's complement, the
/// first in the lowest bits. The row is padded with zeros to a multiple of sixteen codes, which matches
/// the words of a row of packed ternary values.
pub fn code_words_per_row(values: usize) -> usize {
    words_per_row(values) * CODES_PER_WORD / 4
}

/// Packs up to sixteen ternary values into a word, padded with zeros.
///
/// # Panics
///
/// If more than sixteen values are given, or (in debug builds) one is not in {-1, 0, 1}.
#[inline]
#[track_caller]
pub fn pack_word(values: &[i8]) -> u32 {
    assert!(
        values.len() <= CODES_PER_WORD,
        "a word holds {CODES_PER_WORD} values, got {}",
        values.len()
    );
    values.iter().enumerate().fold(ZERO_WORD, |word, (i, &t)| {
        debug_assert!((-1..=1).contains(&t), "{t} is not a ternary value");
        let shift = BITS_PER_CODE * i;
        (word & !(3 << shift)) | (((t + 1) as u32) << shift)
    })
}

/// Returns value `i` of a word, in {-1, 0, 1}.
#[inline]
pub fn unpack_code(word: u32, i: usize) -> i8 {
    ((word >> (BITS_PER_CODE * i)) & 3) as i8 - 1
}

/// Packs rows of `row_length` ternary values; the scalar reference of the kernels.
///
/// # Panics
///
/// If `values` is not a whole number of rows.
#[track_caller]
pub fn pack_rows(values: &[i8], row_length: usize) -> Vec<u32> {
    if values.is_empty() {
        return Vec::new();
    }
    assert!(
        values.len().is_multiple_of(row_length),
        "{} values are no whole number of rows of {row_length}",
        values.len()
    );
    values
        .chunks(row_length)
        .flat_map(|row| row.chunks(CODES_PER_WORD).map(pack_word))
        .collect()
}

/// Unpacks rows of `row_length` ternary values, the inverse of [`pack_rows`].
///
/// # Panics
///
/// If `words` is not a whole number of rows.
#[track_caller]
pub fn unpack_rows(words: &[u32], row_length: usize) -> Vec<i8> {
    let words_per_row = words_per_row(row_length);
    if words.is_empty() {
        return Vec::new();
    }
    assert!(
        words.len().is_multiple_of(words_per_row),
        "{} words are no whole number of rows of {words_per_row}",
        words.len()
    );
    words
        .chunks(words_per_row)
        .flat_map(|row| {
            (0..row_length).map(|i| unpack_code(row[i / CODES_PER_WORD], i % CODES_PER_WORD))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_fill_a_word_from_its_lowest_bits() {
        assert_eq!(pack_word(&[-1, 0, 1]) & 0b11_11_11, 0b10_01_00);
        assert_eq!(pack_word(&[]), ZERO_WORD);
        assert_eq!(pack_word(&[0; 16]), ZERO_WORD);
    }

    #[test]
    fn little_endian_bytes_hold_four_codes_each() {
        let values = [1i8, 0, -1, 1, -1, -1, 0, 1];
        let bytes = pack_word(&values).to_le_bytes();
        for (i, &t) in values.iter().enumerate() {
            assert_eq!((bytes[i / 4] >> (2 * (i % 4))) & 3, (t + 1) as u8);
        }
    }

    #[test]
    fn every_row_starts_a_word_and_comes_back() {
        for row_length in [1, 3, 15, 16, 17, 40] {
            let values: Vec<i8> = (0..3 * row_length).map(|i| (i % 3) as i8 - 1).collect();
            let words = pack_rows(&values, row_length);
            assert_eq!(words.len(), 3 * words_per_row(row_length));
            assert_eq!(unpack_rows(&words, row_length), values);
        }
    }
}
