//! Codes of activations, four to a word, and back; the layout is in [`crate::packing`].

use cubecl::{client::Client, prelude::*, server::Handle};

use super::absmax::round_ties_even;
use super::launch::{buffer, elementwise, index, one_cube_each, reduce_units};
use super::statistic::{at_least_epsilon, reduce_in_cube};
use crate::{Statistic, packing::code_words_per_row};

/// A word has four codes.
const CODES: usize = 4;

/// The code in byte `i` of a word, as the integer that it is in two's complement.
#[cube]
pub(super) fn code(word: u32, #[comptime] i: usize) -> i32 {
    let byte = (word >> comptime!(8 * i as u32)) & 0xffu32;
    i32::cast_from(byte ^ 0x80u32) - 128i32
}

/// Each cube takes one row: its maximum, then its words.
#[cube(launch_unchecked)]
pub(super) fn quantize_codes<F: Float, N: Size>(
    input: &[Vector<F, N>],
    output: &mut [u32],
    scales: &mut [f32],
    rows: u32,
    row_length: u32,
    row_words: u32,
    max_code: f32,
    #[comptime] units: u32,
    #[define(F)] _dtype: ElemType,
) {
    let row = CUBE_POS;
    if row >= rows as usize {
        terminate!();
    }
    let row_length = row_length as usize;
    let start = row * row_length;
    let absmax = reduce_in_cube::<F, N>(
        input,
        start,
        row_length,
        0u32,
        comptime!(Statistic::AbsMax),
        units,
    );
    let scale = max_code / at_least_epsilon(absmax);
    if UNIT_POS == 0 {
        scales[row] = scale;
    }
    let mut word_in_row = UNIT_POS as usize;
    while word_in_row < row_words as usize {
        let mut word = 0u32;
        #[unroll]
        for i in 0..CODES {
            let column = word_in_row * CODES + i;
            if column < row_length {
                let scaled = f32::cast_from(input[start + column].extract(0usize)) * scale;
                let code = clamp(round_ties_even(scaled), -max_code - 1.0f32, max_code);
                // Positive, as the conversion of a negative number to bits is not defined.
                let byte = u32::cast_from(code + 256.0f32) & 0xffu32;
                word |= byte << comptime!(8 * i as u32);
            }
        }
        output[row * row_words as usize + word_in_row] = word;
        word_in_row += CUBE_DIM as usize;
    }
}

/// Each unit turns one code back.
#[cube(launch_unchecked)]
pub(super) fn dequantize_codes<F: Float>(
    codes: &[u32],
    scales: &[f32],
    output: &mut [F],
    values: u32,
    row_length: u32,
    row_words: u32,
    #[define(F)] _dtype: ElemType,
) {
    let position = ABSOLUTE_POS;
    if position >= values as usize {
        terminate!();
    }
    let row = position / row_length as usize;
    let column = position % row_length as usize;
    let word = codes[row * row_words as usize + column / CODES];
    let byte = (word >> (column % CODES * 8) as u32) & 0xffu32;
    let code = f32::cast_from(i32::cast_from(byte ^ 0x80u32) - 128i32);
    output[position] = F::cast_from(code / scales[row]);
}

/// Computes `s = max_code / max(max|x|, 1e-5)` of every row into `scales` and
/// `clamp(round(x * s), -max_code - 1, max_code)` into the bytes of `output`.
///
/// # Shapes
///
/// - input: `[rows, row_length]` of type `dtype`
/// - output: `[rows, code_words_per_row(row_length)]` words
/// - scales: `rows` values `f32`
pub fn absmax_quantize(
    client: &Client,
    input: &Handle,
    output: &Handle,
    scales: &Handle,
    [rows, row_length]: [usize; 2],
    max_code: f32,
    dtype: ElemType,
) {
    if rows == 0 {
        return;
    }
    let words = code_words_per_row(row_length);
    let units = reduce_units(client);
    let (cube_count, cube_dim) = one_cube_each(client, rows, units);
    // SAFETY: cubes beyond the rows stop, the others stay inside their row.
    unsafe {
        quantize_codes::launch_unchecked(
            client,
            cube_count,
            cube_dim,
            1,
            buffer(input, rows * row_length),
            buffer(output, rows * words),
            buffer(scales, rows),
            index(rows),
            index(row_length),
            index(words),
            max_code,
            units,
            dtype,
        );
    }
}

/// `code / s` of every code; the values of [`absmax_fake_quant`](super::absmax_fake_quant).
///
/// # Shapes
///
/// - codes: `[rows, code_words_per_row(row_length)]` words
/// - scales: `rows` values `f32`
/// - output: `[rows, row_length]` of type `dtype`
pub fn absmax_dequantize(
    client: &Client,
    codes: &Handle,
    scales: &Handle,
    output: &Handle,
    [rows, row_length]: [usize; 2],
    dtype: ElemType,
) {
    let values = rows * row_length;
    if values == 0 {
        return;
    }
    let words = code_words_per_row(row_length);
    let (cube_count, cube_dim) = elementwise(client, values);
    // SAFETY: units beyond `values` stop, the others read inside their row.
    unsafe {
        dequantize_codes::launch_unchecked(
            client,
            cube_count,
            cube_dim,
            buffer(codes, rows * words),
            buffer(scales, rows),
            buffer(output, values),
            index(values),
            index(row_length),
            index(words),
            dtype,
        );
    }
}
