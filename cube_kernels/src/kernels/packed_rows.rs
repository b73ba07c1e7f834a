//! Products of int8 activations with packed ternary weights, for few tokens.

use cubecl::{client::Client, prelude::*, server::Handle};

use super::codes::code;
use super::launch::{buffer, index, one_cube_each, reduce_units};
use crate::packing::{code_words_per_row, words_per_row};

/// Tokens whose sums a unit accumulates for one read of a weight.
const TOKENS: usize = 4;

/// Maximum number of units that share a row: a word holds sixteen weights.
const MAX_UNITS: u32 = 64;

/// Returns the sum of a unit for one word of weights and the codes of a token.
#[cube]
fn word_product(weights: u32, codes: &[u32], first: usize) -> i32 {
    let mut sum = 0i32;
    #[unroll]
    for group in 0..4usize {
        let word = codes[first + group];
        #[unroll]
        for i in 0..4usize {
            let shift = comptime!((8 * group + 2 * i) as u32);
            let weight = i32::cast_from((weights >> shift) & 3u32) - 1i32;
            sum += weight * code(word, i);
        }
    }
    sum
}

/// Returns the sum over the units of the cube, to all of them.
#[cube]
fn sum_in_cube(partial: i32, shared: &mut [i32], #[comptime] units: u32) -> i32 {
    let unit = UNIT_POS as usize;
    shared[unit] = partial;
    sync_cube();
    #[unroll]
    for step in 0..comptime!(units.ilog2()) {
        let active = comptime!((units >> (step + 1)) as usize);
        if unit < active {
            let sum = shared[unit] + shared[unit + active];
            shared[unit] = sum;
        }
        sync_cube();
    }
    let sum = shared[0];
    sync_cube();
    sum
}

/// Each cube takes one packed row; its units share the words, unpack them in registers, and
/// multiply them with four tokens at a time.
#[cube(launch_unchecked)]
pub(super) fn multiply_rows<F: Float>(
    codes: &[u32],
    code_scales: &[f32],
    packed: &[u32],
    weight_scales: &[f32],
    output: &mut [F],
    rows: u32,
    row_words: u32,
    tokens: u32,
    scale_stride: u32,
    #[comptime] units: u32,
    #[define(F)] _dtype: ElemType,
) {
    let row = CUBE_POS;
    if row >= rows as usize {
        terminate!();
    }
    let (row_words, tokens) = (row_words as usize, tokens as usize);
    let mut shared = Shared::<[i32]>::new_slice(units as usize);
    let weight_scale = weight_scales[row * scale_stride as usize];
    let mut first = 0usize;
    while first < tokens {
        let mut sums = Array::<i32>::new(TOKENS);
        #[unroll]
        for i in 0..TOKENS {
            sums[i] = 0i32;
        }
        let mut word = UNIT_POS as usize;
        while word < row_words {
            let weights = packed[row * row_words + word];
            #[unroll]
            for i in 0..TOKENS {
                if first + i < tokens {
                    let at = ((first + i) * row_words + word) * 4;
                    sums[i] += word_product(weights, codes, at);
                }
            }
            word += CUBE_DIM as usize;
        }
        #[unroll]
        for i in 0..TOKENS {
            let sum = sum_in_cube(sums[i], &mut shared, units);
            if first + i < tokens && UNIT_POS == 0 {
                let scale = weight_scale * (1.0f32 / code_scales[first + i]);
                output[(first + i) * rows as usize + row] =
                    F::cast_from(f32::cast_from(sum) * scale);
            }
        }
        first += TOKENS;
    }
}

/// Computes `y = sum_k(code_k t_k) * (gamma / s)` of each token with each packed row, exact up to the
/// last two products. The weights are unpacked in registers only.
///
/// # Shapes
///
/// - codes: `[tokens, code_words_per_row(d_input)]` words
/// - code_scales: `tokens` values `f32`
/// - packed: `[rows, words_per_row(d_input)]` words
/// - weight_scales: one value `f32`, or one for each row if `per_row`
/// - output: `[tokens, rows]` of type `dtype`
#[allow(clippy::too_many_arguments)]
pub fn packed_product(
    client: &Client,
    codes: &Handle,
    code_scales: &Handle,
    packed: &Handle,
    weight_scales: &Handle,
    per_row: bool,
    output: &Handle,
    [tokens, d_input, rows]: [usize; 3],
    dtype: ElemType,
) {
    if tokens * rows == 0 {
        return;
    }
    let row_words = words_per_row(d_input);
    let units = reduce_units(client).min(MAX_UNITS);
    let (cube_count, cube_dim) = one_cube_each(client, rows, units);
    // SAFETY: cubes beyond the rows stop, the others read their row and all tokens.
    unsafe {
        multiply_rows::launch_unchecked(
            client,
            cube_count,
            cube_dim,
            buffer(codes, tokens * code_words_per_row(d_input)),
            buffer(code_scales, tokens),
            buffer(packed, rows * row_words),
            buffer(weight_scales, if per_row { rows } else { 1 }),
            buffer(output, tokens * rows),
            index(rows),
            index(row_words),
            index(tokens),
            index(per_row as usize),
            units,
            dtype,
        );
    }
}
