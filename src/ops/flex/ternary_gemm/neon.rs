//! NEON with dot products of bytes.

use std::arch::{aarch64::*, asm};

use super::{Rows, panels::Panel, rows::Sums};

/// Rows of a tile: their sums are in registers.
pub(super) const ROWS: usize = 4;

/// Adds the products of four neighbouring bytes to each sum.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn add_products(mut sums: int32x4_t, weights: uint8x16_t, codes: int8x16_t) -> int32x4_t {
    // The intrinsic, `vdotq_s32`, is not stable. Weights of 0 to 2 are the same with a sign.
    // SAFETY: the instruction reads and writes nothing but its registers.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {codes:v}.16b",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            codes = in(vreg) codes,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// The four codes of every byte, one after the other.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn unpack(words: &[u32; 4]) -> [uint8x16_t; 4] {
    // SAFETY: four words of 32 bits.
    let words = vreinterpretq_u8_u32(unsafe { vld1q_u32(words.as_ptr()) });
    let mask = vdupq_n_u8(3);
    [
        vandq_u8(words, mask),
        vandq_u8(vshrq_n_u8::<2>(words), mask),
        vandq_u8(vshrq_n_u8::<4>(words), mask),
        vshrq_n_u8::<6>(words),
    ]
}

/// Sums of `N` rows with the columns of a panel.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn rows_tile<const N: usize>(panel: Panel<'_>, rows: Rows<'_>, sums: &mut [Sums]) {
    let rows: [&[u32]; N] = std::array::from_fn(|i| rows.row(i));
    let mut acc = [[vdupq_n_s32(0); 4]; N];
    for (position, block) in panel.groups().flatten().enumerate() {
        let codes = rows.map(|row| &row[4 * position..4 * position + 4]);
        for (quarter, words) in block.as_chunks::<4>().0.iter().enumerate() {
            for (i, weights) in unpack(words).into_iter().enumerate() {
                for (acc, codes) in acc.iter_mut().zip(codes) {
                    let codes = vreinterpretq_s8_u32(vdupq_n_u32(codes[i]));
                    acc[quarter] = add_products(acc[quarter], weights, codes);
                }
            }
        }
    }
    for (sums, acc) in sums.iter_mut().zip(acc) {
        for (sums, acc) in sums.as_chunks_mut::<4>().0.iter_mut().zip(acc) {
            // SAFETY: four integers of 32 bits.
            unsafe { vst1q_s32(sums.as_mut_ptr(), acc) };
        }
    }
}

/// Sums of rows with the columns of a panel.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn tile(panel: Panel<'_>, rows: Rows<'_>, sums: &mut [Sums]) {
    let mut done = 0;
    while done < sums.len() {
        let (rows, sums) = (rows.slice(done, sums.len() - done), &mut sums[done..]);
        done += match sums.len() {
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

/// The sum of one packed row with one token.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot_row(row: &[u32], codes: &[i8]) -> i32 {
    let mut acc = [vdupq_n_s32(0); 4];
    for (words, codes) in row.chunks(16).zip(codes.chunks_exact(256)) {
        let mut padded = [0; 16];
        padded[..words.len()].copy_from_slice(words);
        for (quarter, words) in padded.as_chunks::<4>().0.iter().enumerate() {
            for (i, weights) in unpack(words).into_iter().enumerate() {
                let codes = &codes[64 * i + 16 * quarter..][..16];
                // SAFETY: 16 bytes.
                let codes = unsafe { vld1q_s8(codes.as_ptr()) };
                acc[i] = add_products(acc[i], weights, codes);
            }
        }
    }
    acc.into_iter().map(|acc| vaddvq_s32(acc)).sum()
}

/// Sums of packed rows with one token of [arranged](super::dot::arrange) codes.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn dot(rows: &[&[u32]], codes: &[i8], sums: &mut [i32]) {
    for (row, sum) in rows.iter().zip(sums) {
        *sum = dot_row(row, codes);
    }
}
