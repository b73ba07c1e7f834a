//! Products of activations with weights of 4 bits, for few tokens.

use cubecl::{client::Client, prelude::*, server::Handle};

use super::four_bit::shift;
use super::launch::{buffer, index, one_cube_each, reduce_units, vector_size};
use crate::{FourBitFormat, FourBitType, Groups};

/// Codes in a word.
const CODES: usize = FourBitFormat::CODES_PER_WORD;

/// Rows of a cube, which share a read of the activations: these are eight times as many bytes as the codes.
const ROWS: usize = 4;

/// Maximum number of tokens whose sums a unit accumulates for one read of a weight.
const TOKENS: usize = 4;

/// Maximum number of units that share the rows.
const MAX_UNITS: u32 = 64;

/// Writes the value of each code.
#[cube]
fn write_values(values: &mut Shared<[f32]>, #[comptime] quant_type: FourBitType) {
    if UNIT_POS == 0 {
        #[unroll]
        for code in 0..16usize {
            values[code] = f32::new(comptime!(quant_type.values()[code]));
        }
    }
    sync_cube();
}

/// Writes the activations of a token that belong to the codes of a word, from vector `first` on.
#[cube]
fn read_activations<F: Float, N: Size>(
    x: &[Vector<F, N>],
    first: usize,
    activations: &mut Array<f32>,
    #[comptime] token: usize,
) {
    let width = N::value().comptime();
    #[unroll]
    for vector in 0..comptime!(CODES / width) {
        let values = x[first + vector];
        #[unroll]
        for lane in 0..width {
            activations[comptime!(token * CODES + vector * width + lane)] =
                f32::cast_from(values.extract(lane));
        }
    }
}

/// Adds the products of a word of weights, rounded to `F`, with the activations of each token.
#[cube]
fn add_products<F: Float>(
    word: u32,
    absmax: f32,
    values: &Shared<[f32]>,
    activations: &Array<f32>,
    sums: &mut Array<f32>,
    #[comptime] row: usize,
    #[comptime] tokens: usize,
) {
    #[unroll]
    for i in 0..CODES {
        let code = (word >> comptime!(shift(i))) & 15u32;
        let weight = f32::cast_from(F::cast_from(values[code as usize] * absmax));
        #[unroll]
        for token in 0..tokens {
            let sum = comptime!(row * tokens + token);
            sums[sum] += weight * activations[comptime!(token * CODES + i)];
        }
    }
}

/// Adds up each of `count` sums over the units of the cube, in the place of its first unit.
#[cube]
fn sum_in_cube(
    sums: &Array<f32>,
    shared: &mut Shared<[f32]>,
    #[comptime] count: usize,
    #[comptime] units: u32,
) {
    let unit = UNIT_POS as usize;
    #[unroll]
    for i in 0..count {
        shared[comptime!(i * units as usize) + unit] = sums[i];
    }
    sync_cube();
    #[unroll]
    for step in 0..comptime!(units.ilog2()) {
        let active = comptime!((units >> (step + 1)) as usize);
        if unit < active {
            #[unroll]
            for i in 0..count {
                let at = comptime!(i * units as usize) + unit;
                let sum = shared[at] + shared[at + active];
                shared[at] = sum;
            }
        }
        sync_cube();
    }
}

/// Returns the sums of a unit for rows from `row` on and tokens from `token` on. The last row and the last token
/// stand in for those after them.
#[cube]
fn unit_sums<F: Float, N: Size>(
    x: &[Vector<F, N>],
    words: &[u32],
    absmax: &[f32],
    values: &Shared<[f32]>,
    row: usize,
    last_row: usize,
    token: usize,
    last_token: usize,
    row_words: usize,
    block_shift: u32,
    #[comptime] tokens: usize,
) -> Array<f32> {
    let mut sums = Array::<f32>::new(comptime!(ROWS * tokens));
    let mut activations = Array::<f32>::new(comptime!(tokens * CODES));
    #[unroll]
    for i in 0..comptime!(ROWS * tokens) {
        sums[i] = 0.0f32;
    }
    let mut word = UNIT_POS as usize;
    while word < row_words {
        #[unroll]
        for i in 0..tokens {
            let at = min(token + i, last_token) * row_words + word;
            read_activations::<F, N>(x, at * CODES / N::value(), &mut activations, i);
        }
        #[unroll]
        for i in 0..ROWS {
            let at = min(row + i, last_row) * row_words + word;
            let absmax = absmax[(at as u32 >> block_shift) as usize];
            add_products::<F>(
                words[at],
                absmax,
                values,
                &activations,
                &mut sums,
                i,
                tokens,
            );
        }
        word += CUBE_DIM as usize;
    }
    sums
}

/// Each cube takes some rows; its units share the words, unpack them in registers, and multiply them with
/// `at_once` tokens at a time.
#[cube(launch_unchecked)]
pub(super) fn multiply_four_bit<F: Float, N: Size>(
    x: &[Vector<F, N>],
    words: &[u32],
    absmax: &[f32],
    output: &mut [F],
    rows: u32,
    row_words: u32,
    tokens: u32,
    block_shift: u32,
    #[comptime] quant_type: FourBitType,
    #[comptime] at_once: usize,
    #[comptime] units: u32,
    #[define(F)] _dtype: ElemType,
) {
    let first_row = CUBE_POS * ROWS;
    let (rows, row_words, tokens) = (rows as usize, row_words as usize, tokens as usize);
    if first_row >= rows {
        terminate!();
    }
    let count = comptime!(ROWS * at_once);
    let mut values = Shared::<[f32]>::new_slice(16usize);
    let mut shared = Shared::<[f32]>::new_slice(comptime!(count * units as usize));
    write_values(&mut values, quant_type);
    let mut first = 0usize;
    while first < tokens {
        let sums = unit_sums::<F, N>(
            x,
            words,
            absmax,
            &values,
            first_row,
            rows - 1,
            first,
            tokens - 1,
            row_words,
            block_shift,
            at_once,
        );
        sum_in_cube(&sums, &mut shared, count, units);
        let mut i = UNIT_POS as usize;
        while i < count {
            let (row, token) = (first_row + i / at_once, first + i % at_once);
            if row < rows && token < tokens {
                output[token * rows + row] = F::cast_from(shared[i * units as usize]);
            }
            i += CUBE_DIM as usize;
        }
        // The sums of the next tokens are written to the same places.
        sync_cube();
        first += at_once;
    }
}

/// Computes `Y = X W^T` of a few tokens, with sums in `f32`. The values of `W` are rounded to `dtype`, and
/// unpacked in registers only.
///
/// # Shapes
///
/// - x: `[tokens, d_input]` of type `dtype`; `d_input` is a multiple of
///   [`CODES_PER_WORD`](FourBitFormat::CODES_PER_WORD)
/// - words: those of `[rows, d_input]` values
/// - absmax: one value `f32` for each block
/// - output: `[tokens, rows]` of type `dtype`
#[allow(clippy::too_many_arguments)]
pub fn four_bit_product(
    client: &Client,
    x: &Handle,
    words: &Handle,
    absmax: &Handle,
    output: &Handle,
    [tokens, d_input, rows]: [usize; 3],
    format: FourBitFormat,
    dtype: ElemType,
) {
    assert!(
        d_input.is_multiple_of(CODES),
        "rows of 4-bit codes are whole words of {CODES}, got {d_input} values"
    );
    if tokens * rows == 0 {
        return;
    }
    let at_once = if tokens == 1 { 1 } else { TOKENS };
    let row_words = d_input / CODES;
    let width = vector_size(client, Groups::per_row(&[row_words, CODES]), dtype);
    let units = reduce_units(client).min(MAX_UNITS);
    let (cube_count, cube_dim) = one_cube_each(client, rows.div_ceil(ROWS), units);
    // SAFETY: cubes beyond the rows stop, the others read their rows and all tokens.
    unsafe {
        multiply_four_bit::launch_unchecked(
            client,
            cube_count,
            cube_dim,
            width,
            buffer(x, tokens * d_input / width),
            buffer(words, rows * row_words),
            buffer(absmax, format.num_blocks(rows * d_input)),
            buffer(output, tokens * rows),
            index(rows),
            index(row_words),
            index(tokens),
            (format.block_size / CODES).ilog2(),
            format.quant_type,
            at_once,
            units,
            dtype,
        );
    }
}
