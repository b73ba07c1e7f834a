//! Packing of ternary codes into words, and unpacking; the layout is in [`crate::packing`].

use cubecl::{client::Client, prelude::*, server::Handle};

use super::launch::{buffer, elementwise, index};
use super::ternary::{scale_index, ternary_code};
use crate::{
    Groups,
    packing::{BITS_PER_CODE, CODES_PER_WORD, words_per_row},
};

/// Each unit packs one word.
#[cube(launch_unchecked)]
pub(super) fn pack<F: Float>(
    input: &[F],
    scales: &[f32],
    output: &mut [u32],
    words: u32,
    row_length: u32,
    size: u32,
    inner: u32,
    #[define(F)] _dtype: ElemType,
) {
    let position = ABSOLUTE_POS;
    if position >= words as usize {
        terminate!();
    }
    let row_length = row_length as usize;
    let words_in_row = row_length.div_ceil(CODES_PER_WORD);
    let row = position / words_in_row;
    let column = position % words_in_row * CODES_PER_WORD;
    let mut word = 0u32;
    #[unroll]
    for i in 0..CODES_PER_WORD {
        let mut code = 1u32;
        if column + i < row_length {
            let source = row * row_length + column + i;
            let scale = scales[scale_index(source, size as usize, inner as usize)];
            code = u32::cast_from(ternary_code(f32::cast_from(input[source]), scale) + 1.0f32);
        }
        word |= code << comptime!((BITS_PER_CODE * i) as u32);
    }
    output[position] = word;
}

/// Each unit unpacks one value.
#[cube(launch_unchecked)]
pub(super) fn unpack<F: Float>(
    packed: &[u32],
    scales: &[f32],
    output: &mut [F],
    values: u32,
    row_length: u32,
    size: u32,
    inner: u32,
    #[define(F)] _dtype: ElemType,
) {
    let position = ABSOLUTE_POS;
    if position >= values as usize {
        terminate!();
    }
    let row_length = row_length as usize;
    let words_in_row = row_length.div_ceil(CODES_PER_WORD);
    let column = position % row_length;
    let word = packed[position / row_length * words_in_row + column / CODES_PER_WORD];
    let shift = (column % CODES_PER_WORD * BITS_PER_CODE) as u32;
    let code = f32::cast_from((word >> shift) & 3u32) - 1.0f32;
    let scale = scales[scale_index(position, size as usize, inner as usize)];
    output[position] = F::cast_from(code * scale);
}

/// Packs the ternary codes `clamp(round(W / gamma), -1, 1)` of rows of `row_length` values.
///
/// # Shapes
///
/// - input: `groups.num_elements()` values of type `dtype`, rows of `row_length`
/// - scales: `groups.num_groups()` values `f32`, the `gamma` of [`Statistic::AbsMean`](crate::Statistic)
/// - output: `rows * ceil(row_length / 16)` words
pub fn ternary_pack(
    client: &Client,
    input: &Handle,
    scales: &Handle,
    output: &Handle,
    groups: Groups,
    row_length: usize,
    dtype: ElemType,
) {
    let values = groups.num_elements();
    if values == 0 {
        return;
    }
    let words = values / row_length * words_per_row(row_length);
    let (cube_count, cube_dim) = elementwise(client, words);
    // SAFETY: units beyond `words` stop, the others read inside their row.
    unsafe {
        pack::launch_unchecked(
            client,
            cube_count,
            cube_dim,
            buffer(input, values),
            buffer(scales, groups.num_groups()),
            buffer(output, words),
            index(words),
            index(row_length),
            index(groups.size),
            index(groups.inner),
            dtype,
        );
    }
}

/// Unpacks `code * gamma`, the inverse of [`ternary_pack`].
///
/// # Shapes
///
/// - packed: `rows * ceil(row_length / 16)` words
/// - scales: `groups.num_groups()` values `f32`
/// - output: `groups.num_elements()` values of type `dtype`
pub fn ternary_unpack(
    client: &Client,
    packed: &Handle,
    scales: &Handle,
    output: &Handle,
    groups: Groups,
    row_length: usize,
    dtype: ElemType,
) {
    let values = groups.num_elements();
    if values == 0 {
        return;
    }
    let words = values / row_length * words_per_row(row_length);
    let (cube_count, cube_dim) = elementwise(client, values);
    // SAFETY: units beyond `values` stop, the others read the word of their own row.
    unsafe {
        unpack::launch_unchecked(
            client,
            cube_count,
            cube_dim,
            buffer(packed, words),
            buffer(scales, groups.num_groups()),
            buffer(output, values),
            index(values),
            index(row_length),
            index(groups.size),
            index(groups.inner),
            dtype,
        );
    }
}
