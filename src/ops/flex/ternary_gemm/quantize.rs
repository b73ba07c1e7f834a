use std::mem::MaybeUninit;

use bitnet_burn_kernels::{packing::code_words_per_row, reference::at_least_epsilon};
use rayon::prelude::*;

use crate::ops::flex::{
    quantizer::{divide, max_magnitude},
    slices::{MAGIC, PARALLEL_THRESHOLD, clamp, filled, rows_chunk, vectorized},
};

/// Returns the codes `clamp(round(x * s), -max_code - 1, max_code)` of each row as bytes of words, and the
/// inverse scales `s = max_code / max|x|`.
pub(in crate::ops::flex) fn quantize(
    values: &[f32],
    row_length: usize,
    max_code: f32,
) -> (Vec<u32>, Vec<f32>) {
    let tokens = values.len().checked_div(row_length).unwrap_or(0);
    let stride = code_words_per_row(row_length);
    let (mut words, mut inverse_scales) = (vec![0u32; tokens * stride], vec![0.0; tokens]);
    let chunk = match values.len() < PARALLEL_THRESHOLD {
        true => tokens,
        false => rows_chunk(row_length) / row_length,
    };
    values
        .par_chunks((chunk * row_length).max(1))
        .zip(words.par_chunks_mut((chunk * stride).max(1)))
        .zip(inverse_scales.par_chunks_mut(chunk.max(1)))
        .for_each(|((input, words), inverse_scales)| {
            vectorized(QuantizeRows {
                input,
                row_length,
                max_code,
                words,
                inverse_scales,
            });
        });
    (words, inverse_scales)
}

struct QuantizeRows<'a> {
    input: &'a [f32],
    row_length: usize,
    max_code: f32,
    words: &'a mut [u32],
    inverse_scales: &'a mut [f32],
}

impl pulp::NullaryFnOnce for QuantizeRows<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let stride = code_words_per_row(self.row_length);
        let rows = self.input.chunks(self.row_length);
        let rows = rows.zip(self.words.chunks_mut(stride));
        for ((row, words), inverse_scale) in rows.zip(self.inverse_scales) {
            *inverse_scale = self.max_code / at_least_epsilon(max_magnitude(row));
            let codes = bytemuck::cast_slice_mut(words);
            quantize_row(row, *inverse_scale, self.max_code, codes);
        }
    }
}

#[inline(always)]
fn quantize_row(row: &[f32], inverse_scale: f32, max_code: f32, codes: &mut [u8]) {
    for (code, &v) in codes.iter_mut().zip(row) {
        // The sum has the rounded code in its lowest bits, in two's complement.
        let code_and_magic = clamp(v * inverse_scale, -max_code - 1.0, max_code) + MAGIC;
        *code = code_and_magic.to_bits() as u8;
    }
    fix_byte_order(codes);
}

/// Returns bytes as a word, the first byte in its lowest bits.
#[inline(always)]
fn fix_byte_order(codes: &mut [u8]) {
    if cfg!(target_endian = "big") {
        for word in codes.as_chunks_mut::<4>().0 {
            word.reverse();
        }
    }
}

/// Computes `code / s` of every code.
pub(in crate::ops::flex) fn dequantize(
    words: &[u32],
    inverse_scales: &[f32],
    row_length: usize,
) -> Vec<f32> {
    let stride = code_words_per_row(row_length);
    if inverse_scales.is_empty() || row_length == 0 {
        return Vec::new();
    }
    let tokens = inverse_scales.len();
    assert_eq!(words.len(), tokens * stride, "rows of {stride} words");
    let row = |values: &mut [MaybeUninit<f32>], words: &[u32], inverse_scale: f32| {
        let scale = 1.0 / inverse_scale as f64;
        let (groups, rest) = values.as_chunks_mut::<4>();
        for (values, word) in groups.iter_mut().zip(words) {
            for (value, code) in values.iter_mut().zip(word.to_le_bytes()) {
                value.write(divide(code as i8 as f32, scale));
            }
        }
        let last = words
            .get(row_length / 4)
            .map_or([0; 4], |w| w.to_le_bytes());
        for (value, code) in rest.iter_mut().zip(last) {
            value.write(divide(code as i8 as f32, scale));
        }
    };
    let fill = |output: &mut [MaybeUninit<f32>]| {
        let rows = output.par_chunks_mut(row_length);
        rows.zip(words.par_chunks(stride).zip(inverse_scales))
            .with_min_len((PARALLEL_THRESHOLD / row_length).max(1))
            .for_each(|(values, (words, &inverse))| vectorized(|| row(values, words, inverse)));
    };
    // SAFETY: every value of every row is written.
    unsafe { filled(tokens * row_length, fill) }
}
