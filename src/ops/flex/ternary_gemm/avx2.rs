//! AVX2: products of bytes summed in pairs to 16 bits. Loops over indices, as those of `avx512`.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;

use super::{
    COLUMNS, Rows,
    dot::FeatureSums,
    panels::{Block, Panel},
    rows::{Sums, put},
};

/// Rows of a tile, whose sums are held in registers.
pub(super) const ROWS: usize = 4;

/// Number of blocks whose sums fit 16 bits: a block adds four times `2 * 2 * -128`.
const NARROW_BLOCKS: usize = 15;

/// Returns the four codes of every byte, one after the other.
#[inline]
#[target_feature(enable = "avx2")]
fn unpack(words: __m256i) -> [__m256i; 4] {
    let mask = _mm256_set1_epi8(3);
    [
        _mm256_and_si256(words, mask),
        _mm256_and_si256(_mm256_srli_epi32::<2>(words), mask),
        _mm256_and_si256(_mm256_srli_epi32::<4>(words), mask),
        _mm256_and_si256(_mm256_srli_epi32::<6>(words), mask),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(words: &[u32; 8]) -> __m256i {
    // SAFETY: eight words of 32 bits, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

/// Adds neighboring sums of 16 bits to those of 32.
#[inline]
#[target_feature(enable = "avx2")]
fn widen(sum: __m256i, narrow: __m256i) -> __m256i {
    _mm256_add_epi32(sum, _mm256_madd_epi16(narrow, _mm256_set1_epi16(1)))
}

/// Returns the sums of `N` rows with the columns of a panel.
#[inline]
#[target_feature(enable = "avx2")]
fn rows_tile<const N: usize>(panel: Panel<'_>, rows: Rows<'_>) -> [[i32; COLUMNS]; N] {
    let mut codes: [&[u32]; N] = [&[]; N];
    for row in 0..N {
        codes[row] = rows.row(row);
    }
    let mut acc = [[_mm256_setzero_si256(); 2]; N];
    let mut narrow = acc;
    for position in 0..panel.depth() {
        add_block(panel.block(position), &codes, position, &mut narrow);
        if position % NARROW_BLOCKS == NARROW_BLOCKS - 1 || position + 1 == panel.depth() {
            for row in 0..N {
                for half in 0..2 {
                    acc[row][half] = widen(acc[row][half], narrow[row][half]);
                }
            }
            narrow = [[_mm256_setzero_si256(); 2]; N];
        }
    }
    let mut sums = [[0; COLUMNS]; N];
    for row in 0..N {
        let (halves, _) = sums[row].as_chunks_mut::<8>();
        for half in 0..2 {
            // SAFETY: eight integers of 32 bits, and the store needs no alignment.
            unsafe { _mm256_storeu_si256(halves[half].as_mut_ptr().cast(), acc[row][half]) };
        }
    }
    sums
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_block<const N: usize>(
    block: &Block,
    codes: &[&[u32]; N],
    position: usize,
    narrow: &mut [[__m256i; 2]; N],
) {
    let (halves, _) = block.as_chunks::<8>();
    let weights = [unpack(load(&halves[0])), unpack(load(&halves[1]))];
    for i in 0..4 {
        for row in 0..N {
            let codes = _mm256_set1_epi32(codes[row][4 * position + i] as i32);
            for half in 0..2 {
                let products = _mm256_maddubs_epi16(weights[half][i], codes);
                narrow[row][half] = _mm256_add_epi16(narrow[row][half], products);
            }
        }
    }
}

/// Returns the sums of one packed row with `M` tokens, whose [arranged](super::dot::arrange) codes are
/// stored one after the other. The row is unpacked once for all of them.
#[inline]
#[target_feature(enable = "avx2")]
fn dot_row<const M: usize>(row: &[u32], codes: &[i8]) -> [i32; M] {
    let length = codes.len() / M;
    let mut acc = [_mm256_setzero_si256(); M];
    for (chunk, words) in row.chunks(16).enumerate() {
        let mut padded = [0; 16];
        padded[..words.len()].copy_from_slice(words);
        let [low, high] = [0, 1].map(|half| unpack(load(&padded.as_chunks::<8>().0[half])));
        for (t, acc) in acc.iter_mut().enumerate() {
            let codes = &codes[t * length + 256 * chunk..][..256];
            let mut narrow = _mm256_setzero_si256();
            for (i, codes) in codes.as_chunks::<32>().0.iter().enumerate() {
                let weights = if i % 2 == 0 { low[i / 2] } else { high[i / 2] };
                // SAFETY: 32 bytes, and the load needs no alignment.
                let codes = unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) };
                narrow = _mm256_add_epi16(narrow, _mm256_maddubs_epi16(weights, codes));
            }
            *acc = widen(*acc, narrow);
        }
    }
    acc.map(|acc| {
        let mut sums = [0i32; 8];
        // SAFETY: eight integers of 32 bits, and the store needs no alignment.
        unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), acc) };
        sums.iter().sum()
    })
}

super::rows::loops_over_rows!(
    #[target_feature(enable = "avx2")]
);
