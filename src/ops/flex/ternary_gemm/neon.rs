//! NEON with dot products of bytes. Tests on other processors run it with
//! [scalar instructions](super::neon_scalar) of the same names.

#[cfg(target_arch = "aarch64")]
use std::arch::{aarch64::*, asm};

#[cfg(not(target_arch = "aarch64"))]
use super::neon_scalar::*;
use super::{
    COLUMNS, Rows,
    dot::FeatureSums,
    panels::Panel,
    rows::{Sums, put},
};

/// Rows of a tile, whose sums are held in registers.
pub(super) const ROWS: usize = 4;

/// Adds the products of four neighboring bytes to each sum.
#[cfg(target_arch = "aarch64")]
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon,dotprod"))]
fn add_products(mut sums: int32x4_t, weights: uint8x16_t, codes: int8x16_t) -> int32x4_t {
    // The intrinsic, `vdotq_s32`, is not stable. Weights of 0 to 2 are the same as signed bytes.
    // SAFETY: the instruction reads and writes only its registers.
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

/// Returns the four codes of every byte, one after the other.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon,dotprod"))]
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

/// Returns the sums of `N` rows with the columns of a panel.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon,dotprod"))]
fn rows_tile<const N: usize>(panel: Panel<'_>, rows: Rows<'_>) -> [[i32; COLUMNS]; N] {
    let rows: [&[u32]; N] = std::array::from_fn(|i| rows.row(i));
    let mut acc = [[vdupq_n_s32(0); 4]; N];
    for (position, block) in panel.blocks().enumerate() {
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
    let mut sums = [[0; COLUMNS]; N];
    for (sums, acc) in sums.iter_mut().zip(acc) {
        for (sums, acc) in sums.as_chunks_mut::<4>().0.iter_mut().zip(acc) {
            // SAFETY: four integers of 32 bits.
            unsafe { vst1q_s32(sums.as_mut_ptr(), acc) };
        }
    }
    sums
}

/// Returns the sums of one packed row with `M` tokens, whose [arranged](super::dot::arrange) codes are
/// stored one after the other. The row is unpacked once for all of them.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon,dotprod"))]
fn dot_row<const M: usize>(row: &[u32], codes: &[i8]) -> [i32; M] {
    let length = codes.len() / M;
    let mut acc = [[vdupq_n_s32(0); 4]; M];
    for (chunk, words) in row.chunks(16).enumerate() {
        let mut padded = [0; 16];
        padded[..words.len()].copy_from_slice(words);
        for (quarter, words) in padded.as_chunks::<4>().0.iter().enumerate() {
            let weights = unpack(words);
            for (t, acc) in acc.iter_mut().enumerate() {
                for (i, acc) in acc.iter_mut().enumerate() {
                    let codes = &codes[t * length + 256 * chunk + 64 * i + 16 * quarter..][..16];
                    // SAFETY: 16 bytes.
                    let codes = unsafe { vld1q_s8(codes.as_ptr()) };
                    *acc = add_products(*acc, weights[i], codes);
                }
            }
        }
    }
    let mut sums = [0; M];
    for (sum, acc) in sums.iter_mut().zip(acc) {
        for acc in acc {
            *sum += vaddvq_s32(acc);
        }
    }
    sums
}

super::rows::loops_over_rows!(
    #[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon,dotprod"))]
);
