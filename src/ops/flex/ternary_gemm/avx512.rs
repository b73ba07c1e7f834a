//! AVX-512 with VNNI: 64 products of bytes in one instruction.
//!
//! Loops are over indices: closures that adapters of the standard library call are inlined only after those, for which
//! not every build has a second round of inlining; not inlined, each is a call between two instructions.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;

use super::{Rows, dot::FeatureSums, panels::Panel, rows::Sums};

/// Rows of a tile, whose sums with two panels are held in registers.
pub(super) const ROWS: usize = 12;

/// Returns the four codes of every byte, one after the other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn unpack(words: __m512i) -> [__m512i; 4] {
    let mask = _mm512_set1_epi8(3);
    [
        _mm512_and_si512(words, mask),
        _mm512_and_si512(_mm512_srli_epi32::<2>(words), mask),
        _mm512_and_si512(_mm512_srli_epi32::<4>(words), mask),
        _mm512_and_si512(_mm512_srli_epi32::<6>(words), mask),
    ]
}

/// Stores the sums of the first `N` rows with the columns of `P` panels, and returns `N`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn rows_tile<const N: usize, const P: usize>(
    panels: &[Panel<'_>; P],
    rows: Rows<'_>,
    sums: &mut [Sums],
) -> usize {
    let mut codes: [&[u32]; N] = [&[]; N];
    for row in 0..N {
        codes[row] = rows.row(row);
    }
    let mask = _mm512_set1_epi8(3);
    let mut acc = [[_mm512_setzero_si512(); P]; N];
    for at in 0..panels[0].depth() {
        let mut words = [_mm512_setzero_si512(); P];
        for panel in 0..P {
            // SAFETY: a block is sixteen words of 32 bits, and the load needs no alignment.
            words[panel] = unsafe { _mm512_loadu_si512(panels[panel].block(at).as_ptr().cast()) };
        }
        // One code of each byte after the other: all four would not leave registers for the sums.
        for i in 0..4 {
            let mut weights = words;
            for panel in 0..P {
                weights[panel] = _mm512_and_si512(words[panel], mask);
                words[panel] = _mm512_srli_epi32::<2>(words[panel]);
            }
            for row in 0..N {
                // SAFETY: a panel has one block for each group of four words of a row, which
                // `Instructions::tile` asserts.
                let codes = unsafe { *codes[row].get_unchecked(4 * at + i) };
                let codes = _mm512_set1_epi32(codes as i32);
                for panel in 0..P {
                    acc[row][panel] = _mm512_dpbusd_epi32(acc[row][panel], weights[panel], codes);
                }
            }
        }
    }
    for row in 0..N {
        for panel in 0..P {
            let sums = &mut sums[row][panel];
            // SAFETY: sums are sixteen integers of 32 bits, and the store needs no alignment.
            unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), acc[row][panel]) };
        }
    }
    N
}

/// Computes the sums of at most [`ROWS`] rows with the columns of panels.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn tile(panels: &[Panel<'_>], rows: Rows<'_>, sums: &mut [Sums]) {
    match panels {
        [a, b] => tile_panels(&[*a, *b], rows, sums),
        _ => panels
            .iter()
            .for_each(|panel| tile_panels(&[*panel], rows, sums)),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tile_panels<const P: usize>(panels: &[Panel<'_>; P], rows: Rows<'_>, sums: &mut [Sums]) {
    let mut done = 0;
    while done < sums.len() {
        let (rows, sums) = (rows.slice(done, sums.len() - done), &mut sums[done..]);
        done += match sums.len() {
            12.. => rows_tile::<12, P>(panels, rows, sums),
            8.. => rows_tile::<8, P>(panels, rows, sums),
            4.. => rows_tile::<4, P>(panels, rows, sums),
            2.. => rows_tile::<2, P>(panels, rows, sums),
            _ => rows_tile::<1, P>(panels, rows, sums),
        };
    }
}

/// Returns the sums of `N` packed rows with `M` tokens, whose [arranged](super::dot::arrange) codes are
/// stored one after the other. A row is unpacked once for all of them.
///
/// # Safety
///
/// All rows must have the same length, and the codes must cover at least their words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn dot_tile<const N: usize, const M: usize>(
    rows: &[&[u32]; N],
    codes: &[i8],
) -> [[__m512i; N]; M] {
    let (words, length) = (rows[0].len(), codes.len() / M);
    let mut acc = [[_mm512_setzero_si512(); N]; M];
    for chunk in 0..words.div_ceil(16) {
        let mask = match words - 16 * chunk {
            16.. => !0,
            words => (1u16 << words) - 1,
        };
        for (r, row) in rows.iter().enumerate() {
            // SAFETY: the mask leaves out the words after the row.
            let words =
                unsafe { _mm512_maskz_loadu_epi32(mask, row.as_ptr().add(16 * chunk).cast()) };
            let weights = unpack(words);
            for (t, acc) in acc.iter_mut().enumerate() {
                for (i, weights) in weights.into_iter().enumerate() {
                    // SAFETY: each token has 256 codes for each 16 words.
                    let codes = unsafe { codes.as_ptr().add(t * length + 256 * chunk + 64 * i) };
                    // SAFETY: as above, and the load needs no alignment.
                    let codes = unsafe { _mm512_loadu_si512(codes.cast()) };
                    acc[r] = _mm512_dpbusd_epi32(acc[r], weights, codes);
                }
            }
        }
    }
    acc
}

/// Returns the sum of the lanes of each of sixteen vectors, in order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn lane_sums(vectors: &[__m512i; 16]) -> [i32; 16] {
    let mut pairs = [_mm512_setzero_si512(); 8];
    for i in 0..8 {
        let (a, b) = (vectors[2 * i], vectors[2 * i + 1]);
        pairs[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    }
    let mut fours = [_mm512_setzero_si512(); 4];
    for i in 0..4 {
        let (a, b) = (pairs[2 * i], pairs[2 * i + 1]);
        fours[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    }
    // Each quarter has the partial sums of four vectors; the quarters are added up.
    let sums = add_quarters(
        add_quarters(fours[0], fours[1]),
        add_quarters(fours[2], fours[3]),
    );
    let mut output = [0; 16];
    // SAFETY: sixteen integers of 32 bits, and the store needs no alignment.
    unsafe { _mm512_storeu_si512(output.as_mut_ptr().cast(), sums) };
    output
}

/// Returns the sums of neighboring quarters of `a`, then those of `b`.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_quarters(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(
        _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b),
    )
}

/// Computes the sums of all rows with `M` tokens, `N` rows at a time, and returns `M`; `N * M` is sixteen.
///
/// # Safety
///
/// See [`dot_tile`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn dot_tokens<const N: usize, const M: usize>(
    rows: &[&[u32]],
    codes: &[i8],
    sums: &mut [FeatureSums],
) -> usize {
    let (tiles, rest) = rows.as_chunks::<N>();
    for (tile, rows) in tiles.iter().enumerate() {
        // SAFETY: guaranteed by the caller.
        let acc = unsafe { dot_tile::<N, M>(rows, codes) };
        let acc = acc.as_flattened().try_into().expect("sixteen");
        for (sums, tile_sums) in sums.iter_mut().zip(lane_sums(acc).chunks(N)) {
            sums[tile * N..][..N].copy_from_slice(tile_sums);
        }
    }
    for (i, row) in (tiles.len() * N..).zip(rest) {
        // SAFETY: guaranteed by the caller.
        let acc = unsafe { dot_tile::<1, M>(&[row], codes) };
        for (sums, [acc]) in sums.iter_mut().zip(acc) {
            sums[i] = _mm512_reduce_add_epi32(acc);
        }
    }
    M
}

/// Computes the sums of packed rows with tokens of [arranged](super::dot::arrange) codes.
///
/// # Safety
///
/// All rows must have the same length, and the codes of each token must cover at least their words.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn dot(rows: &[&[u32]], codes: &[i8], sums: &mut [FeatureSums]) {
    let length = codes.len() / sums.len().max(1);
    let mut done = 0;
    while done < sums.len() {
        let (codes, sums) = (&codes[done * length..], &mut sums[done..]);
        // SAFETY: guaranteed by the caller.
        done += unsafe {
            match sums.len() {
                8.. => dot_tokens::<2, 8>(rows, &codes[..8 * length], sums),
                4.. => dot_tokens::<4, 4>(rows, &codes[..4 * length], sums),
                2.. => dot_tokens::<8, 2>(rows, &codes[..2 * length], sums),
                _ => dot_tokens::<16, 1>(rows, codes, sums),
            }
        };
    }
}
