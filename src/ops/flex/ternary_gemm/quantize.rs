use bitnet_burn_kernels::{packing::code_words_per_row, reference::at_least_epsilon};
use rayon::prelude::*;

use crate::ops::flex::slices::{MAGIC, PARALLEL_THRESHOLD, max_magnitude, rows_chunk, vectorized};

/// The codes `clamp(round(x * s), -max_code - 1, max_code)` of each row as bytes of words, and the
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
        let code_and_magic = (v * scale).clamp(-max_code - 1.0, max_code) + MAGIC;
        *code = code_and_magic.to_bits() as u8;
    }
    fix_byte_order(codes);
}

/// Words are numbers, their first byte the lowest.
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

/// `code / s` of every code.
pub(in crate::ops::flex) fn dequantize(
    words: &[u32],
    scales: &[f32],
    row_length: usize,
) -> Vec<f32> {
    let stride = code_words_per_row(row_length);
    let mut values = vec![0.0; scales.len() * row_length];
    if values.is_empty() {
        return values;
    }
    let row = |(values, (words, scale)): (&mut [f32], (&[u32], &f32))| {
        vectorized(|| {
            let (groups, rest) = values.as_chunks_mut::<4>();
            for (values, word) in groups.iter_mut().zip(words) {
                let codes = word.to_le_bytes();
                for (value, code) in values.iter_mut().zip(codes) {
                    *value = code as i8 as f32 / scale;
                }
            }
            let last = words[row_length / 4..]
                .first()
                .map_or([0; 4], |w| w.to_le_bytes());
            for (value, code) in rest.iter_mut().zip(last) {
                *value = code as i8 as f32 / scale;
            }
        });
    };
    values
        .par_chunks_mut(row_length)
        .zip(words.par_chunks(stride).zip(scales))
        .with_min_len((PARALLEL_THRESHOLD / row_length).max(1))
        .for_each(row);
    values
}
