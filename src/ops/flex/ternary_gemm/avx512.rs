//! AVX-512 with VNNI: 64 products of bytes in one instruction.

use std::arch::x86_64::*;

use super::{Rows, panels::Panel, rows::Sums};

/// Rows of a tile: their sums are in registers.
pub(super) const ROWS: usize = 16;

/// The four codes of every byte, one after the other.
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

/// Sums of `N` rows with the columns of a panel.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn rows_tile<const N: usize>(panel: Panel<'_>, rows: Rows<'_>, sums: &mut [Sums]) {
    let rows: [&[u32]; N] = std::array::from_fn(|i| rows.row(i));
    let mut acc = [_mm512_setzero_si512(); N];
    let mut at = 0;
    for group in panel.groups() {
        for block in group {
            // SAFETY: a block is sixteen words of 32 bits, and the load needs no alignment.
            let words = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
            for (i, weights) in unpack(words).into_iter().enumerate() {
                for (acc, row) in acc.iter_mut().zip(&rows) {
                    // SAFETY: a panel has as many blocks as a row has groups of four words, which
                    // `Instructions::tile` asserts.
                    let codes = unsafe { *row.get_unchecked(at + i) };
                    *acc = _mm512_dpbusd_epi32(*acc, weights, _mm512_set1_epi32(codes as i32));
                }
            }
            at += 4;
        }
    }
    for (sums, acc) in sums.iter_mut().zip(acc) {
        // SAFETY: sums are sixteen integers of 32 bits, and the store needs no alignment.
        unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), acc) };
    }
}

/// Sums of at most [`ROWS`] rows with the columns of a panel.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn tile(panel: Panel<'_>, rows: Rows<'_>, sums: &mut [Sums]) {
    let mut done = 0;
    while done < sums.len() {
        let (rows, sums) = (rows.slice(done, sums.len() - done), &mut sums[done..]);
        done += match sums.len() {
            16.. => {
                rows_tile::<16>(panel, rows, sums);
                16
            }
            8.. => {
                rows_tile::<8>(panel, rows, sums);
                8
            }
            4.. => {
                rows_tile::<4>(panel, rows, sums);
                4
            }
            2.. => {
                rows_tile::<2>(panel, rows, sums);
                2
            }
            _ => {
                rows_tile::<1>(panel, rows, sums);
                1
            }
        };
    }
}

/// Sums of `N` packed rows with one token of [arranged](super::dot::arrange) codes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dot_token<const N: usize>(rows: [&[u32]; N], codes: &[i8]) -> [i32; N] {
    let mut acc = [_mm512_setzero_si512(); N];
    for (chunk, codes) in codes.chunks_exact(256).enumerate() {
        // SAFETY: 256 bytes are four vectors, and the load needs no alignment.
        let codes: [__m512i; 4] = std::array::from_fn(|i| unsafe {
            _mm512_loadu_si512(codes[64 * i..64 * i + 64].as_ptr().cast())
        });
        for (acc, row) in acc.iter_mut().zip(rows) {
            let words = &row[16 * chunk..];
            let mask = match words.len() {
                16.. => !0,
                words => (1u16 << words) - 1,
            };
            // SAFETY: the mask leaves out what lies behind the row.
            let words = unsafe { _mm512_maskz_loadu_epi32(mask, words.as_ptr().cast()) };
            for (weights, codes) in unpack(words).into_iter().zip(codes) {
                *acc = _mm512_dpbusd_epi32(*acc, weights, codes);
            }
        }
    }
    acc.map(|acc| _mm512_reduce_add_epi32(acc))
}

/// Sums of packed rows with one token.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn dot(rows: &[&[u32]], codes: &[i8], sums: &mut [i32]) {
    let (rows4, rest) = rows.as_chunks::<4>();
    let (sums4, sums) = sums.split_at_mut(4 * rows4.len());
    for (rows, sums) in rows4.iter().zip(sums4.as_chunks_mut::<4>().0) {
        *sums = dot_token(*rows, codes);
    }
    for (row, sum) in rest.iter().zip(sums) {
        [*sum] = dot_token([row], codes);
    }
}
