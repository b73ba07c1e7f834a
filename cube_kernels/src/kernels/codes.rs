//! Codes of activations, packed four to a word and unpacked; the layout is in [`crate::packing`].

use cubecl::{client::Client, prelude::*, server::Handle};

use super::absmax::round_ties_even;
use super::launch::{buffer, elementwise, index, one_cube_each, reduce_units};
use super::statistic::{at_least_epsilon, reduce_in_cube};
use super::ternary::{scale_index, ternary_code};
use crate::{Groups, Statistic, packing::code_words_per_row};

/// Codes in a word.
const CODES: usize = 4;

/// Returns the code in byte `i` of a word as an integer, from two's complement.
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
                // Kept positive, as the conversion of a negative number to bits is not defined.
                let byte = u32::cast_from(code + 256.0f32) & 0xffu32;
                word |= byte << comptime!(8 * i as u32);
            }
        }
        output[row * row_words as usize + word_in_row] = word;
        word_in_row += CUBE_DIM as usize;
    }
}

/// Each unit dequantizes one code.
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

/// Each unit writes one word of ternary codes: zeros after the end of a row, and in rows after the
/// last.
#[cube(launch_unchecked)]
pub(super) fn quantize_ternary_codes<F: Float>(
    input: &[F],
    scales: &[f32],
    output: &mut [u32],
    words: u32,
    rows: u32,
    row_length: u32,
    row_words: u32,
    size: u32,
    inner: u32,
    #[define(F)] _dtype: ElemType,
) {
    let position = ABSOLUTE_POS;
    if position >= words as usize {
        terminate!();
    }
    let row = position / row_words as usize;
    let first = position % row_words as usize * CODES;
    let mut word = 0u32;
    #[unroll]
    for i in 0..CODES {
        if row < rows as usize && first + i < row_length as usize {
            let source = row * row_length as usize + first + i;
            let scale = scales[scale_index(source, size as usize, inner as usize)];
            let code = ternary_code(f32::cast_from(input[source]), scale);
            // Kept positive, as the conversion of a negative number to bits is not defined.
            let byte = u32::cast_from(code + 256.0f32) & 0xffu32;
            word |= byte << comptime!(8 * i as u32);
        }
    }
    output[position] = word;
}

/// Each unit unpacks four packed ternary codes into a word of bytes.
#[cube(launch_unchecked)]
pub(super) fn unpack_bytes(packed: &[u32], output: &mut [u32], words: u32) {
    let position = ABSOLUTE_POS;
    if position >= words as usize {
        terminate!();
    }
    let four = packed[position / CODES] >> (position % CODES * 8) as u32;
    let mut word = 0u32;
    #[unroll]
    for i in 0..CODES {
        // From `t + 1` to `t` in two's complement.
        let code = (four >> comptime!(2 * i as u32)) & 3u32;
        word |= ((code + 255u32) & 0xffu32) << comptime!(8 * i as u32);
    }
    output[position] = word;
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

/// Computes `code / s` of every code: the values of [`absmax_fake_quant`](super::absmax_fake_quant).
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

/// Computes the ternary codes `clamp(round(W / gamma), -1, 1)` of rows of `row_length` values as bytes,
/// in the layout of [`absmax_quantize`].
///
/// # Shapes
///
/// - input: `groups.num_elements()` values of type `dtype`, rows of `row_length`
/// - scales: `groups.num_groups()` values `f32`, the `gamma` of [`Statistic::AbsMean`]
/// - output: `[output_rows, code_words_per_row(row_length)]` words; rows after those of the input are
///   zeros
pub fn ternary_codes(
    client: &Client,
    input: &Handle,
    scales: &Handle,
    output: &Handle,
    groups: Groups,
    [output_rows, row_length]: [usize; 2],
    dtype: ElemType,
) {
    let values = groups.num_elements();
    let row_words = code_words_per_row(row_length);
    let words = output_rows * row_words;
    if words == 0 {
        return;
    }
    let (cube_count, cube_dim) = elementwise(client, words);
    // SAFETY: units beyond `words` stop, and the others read only values of the input.
    unsafe {
        quantize_ternary_codes::launch_unchecked(
            client,
            cube_count,
            cube_dim,
            buffer(input, values),
            buffer(scales, groups.num_groups()),
            buffer(output, words),
            index(words),
            index(values / row_length),
            index(row_length),
            index(row_words),
            index(groups.size),
            index(groups.inner),
            dtype,
        );
    }
}

/// Unpacks ternary weights into bytes, in the layout of [`absmax_quantize`].
///
/// # Shapes
///
/// - packed: `packed_words` words of sixteen codes
/// - output: four times as many words
pub fn unpack_codes(client: &Client, packed: &Handle, output: &Handle, packed_words: usize) {
    let words = CODES * packed_words;
    if words == 0 {
        return;
    }
    let (cube_count, cube_dim) = elementwise(client, words);
    // SAFETY: units beyond `words` stop, the others read the word that holds their four codes.
    unsafe {
        unpack_bytes::launch_unchecked(
            client,
            cube_count,
            cube_dim,
            buffer(packed, packed_words),
            buffer(output, words),
            index(words),
        );
    }
}
