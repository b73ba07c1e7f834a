use std::mem::MaybeUninit;

use bitnet_burn_kernels::{packing::code_words_per_row, reference::at_least_epsilon};
use rayon::prelude::*;

use crate::ops::flex::{
    quantizer::{divide, max_magnitude},
    slices::{MAGIC, PARALLEL_THRESHOLD, clamp, filled, rows_chunk, vectorized},
};

/// Returns the codes `clamp(round(x * s), -max_code - 1, max_code)` of each row as bytes of words, and the
/// scales `s = max_code / max|x|`.
pub(in crate::ops::flex) fn quantize(
    values: &[f32],
    row_length: usize,
    max_code: f32,
) -> (Vec<u32>, Vec<f32>) {
    let tokens = values.len().checked_div(row_length).unwrap_or(0);
    let stride = code_words_per_row(row_length);
    let (mut words, mut scales) = (vec![0u32; tokens * stride], vec![0.0; tokens]);
    let chunk = match values.len() < PARALLEL_THRESHOLD {
        true => tokens,
        false => rows_chunk(row_length) / row_length,
    };
    values
        .par_chunks((chunk * row_length).max(1))
        .zip(words.par_chunks_mut((chunk * stride).max(1)))
        .zip(scales.par_chunks_mut(chunk.max(1)))
        .for_each(|((input, words), scales)| {
            vectorized(QuantizeRows {
                input,
                row_length,
                max_code,
                words,
                scales,
            });
        });
    (words, scales)
}

struct QuantizeRows<'a> {
    input: &'a [f32],
    row_length: usize,
    max_code: f32,
    words: &'a mut [u32],
    scales: &'a mut [f32],
}

impl pulp::NullaryFnOnce for QuantizeRows<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let stride = code_words_per_row(self.row_length);
        let rows = self.input.chunks(self.row_length);
        let rows = rows.zip(self.words.chunks_mut(stride));
        for ((row, words), scale) in rows.zip(self.scales) {
            *scale = self.max_code / at_least_epsilon(max_magnitude(row));
            quantize_row(row, *scale, self.max_code, bytemuck::cast_slice_mut(words));
        }
    }
}

#[inline(always)]
fn quantize_row(row: &[f32], scale: f32, max_code: f32, codes: &mut [u8]) {
    for (code, &v) in codes.iter_mut().zip(row) {
        // The sum has the rounded code in its lowest bits, in two's complement.
        let code_and_magic = clamp(v * scale, -max_code - 1.0, max_code) + MAGIC;
        *code = code_and_magic.to_bits() as u8;
    }
    fix_byte_order(codes);
}

/// Returns bytes as a word, the first byte in its lowest bits.
#[inline(always)]
fn fix_byte_order(codes: &mut [u8]) {
    if cfg!(target_endian = "big") {
        codes
            .as_chunks_mut::<4>()
            .0
            .iter_mut()
            .for_each(|word| word.reverse());
    }
}

/// Computes `code / s` of every code.
pub(in crate::ops::flex) fn dequantize(
    words: &[u32],
    scales: &[f32],
    row_length: usize,
) -> Vec<f32> {
    let stride = code_words_per_row(row_length);
    if scales.is_empty() || row_length == 0 {
        return Vec::new();
    }
    assert_eq!(words.len(), scales.len() * stride, "rows of {stride} words");
    let row = |values: &mut [MaybeUninit<f32>], words: &[u32], scale: f32| {
        let inverse = 1.0 / scale as f64;
        let (groups, rest) = values.as_chunks_mut::<4>();
        for (values, word) in groups.iter_mut().zip(words) {
            for (value, code) in values.iter_mut().zip(word.to_le_bytes()) {
                value.write(divide(code as i8 as f32, inverse));
            }
        }
        let last = words
            .get(row_length / 4)
            .map_or([0; 4], |w| w.to_le_bytes());
        for (value, code) in rest.iter_mut().zip(last) {
            value.write(divide(code as i8 as f32, inverse));
        }
    };
    let fill = |output: &mut [MaybeUninit<f32>]| {
        let rows = output.par_chunks_mut(row_length);
        rows.zip(words.par_chunks(stride).zip(scales))
            .with_min_len((PARALLEL_THRESHOLD / row_length).max(1))
            .for_each(|(values, (words, &scale))| vectorized(|| row(values, words, scale)));
    };
    // SAFETY: every value of every row is written.
    unsafe { filled(scales.len() * row_length, fill) }
}
