use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::{DEPTH, Instructions, Output, PARALLEL_PRODUCTS, Panels, Rows};

/// Tokens up to which rows are read as they are stored; for more, the rows are first turned into
/// panels.
const MAX_TOKENS: usize = 8;

/// Output features computed at a time.
const FEATURES: usize = 64;

/// The product of rows of codes with packed rows `[d_output, words]`: `[tokens, d_output]`.
pub(in crate::ops::flex) fn packed_product(
    words: &[u32],
    d_output: usize,
    rows: Rows<'_>,
    output: Output<'_>,
) -> Vec<f32> {
    if rows.len() > MAX_TOKENS {
        return Panels::from_packed(words, d_output).product(rows, output);
    }
    dot_product(Instructions::detect(), words, d_output, rows, output)
}

/// The same, row by row.
pub(super) fn dot_product(
    instructions: Instructions,
    words: &[u32],
    d_output: usize,
    rows: Rows<'_>,
    output: Output<'_>,
) -> Vec<f32> {
    let mut values = Vec::with_capacity(rows.len() * d_output);
    let result = &mut values.spare_capacity_mut()[..rows.len() * d_output];
    let row_length = words.len() / d_output.max(1);
    let products = d_output * row_length * DEPTH;
    for (token, (result, total)) in result
        .chunks_mut(d_output.max(1))
        .zip(rows.totals())
        .enumerate()
    {
        let codes = arrange(rows.row(token));
        let features = |(i, result): (usize, &mut [MaybeUninit<f32>])| {
            let first = i * FEATURES;
            let mut packed = [&words[..0]; FEATURES];
            let packed = &mut packed[..result.len()];
            for (i, row) in packed.iter_mut().enumerate() {
                *row = &words[(first + i) * row_length..][..row_length];
            }
            let mut sums = [0; FEATURES];
            let sums = &mut sums[..result.len()];
            instructions.dot(packed, &codes, sums);
            output.write(token, first, sums, total, result);
        };
        match products < 2 * PARALLEL_PRODUCTS {
            true => result.chunks_mut(FEATURES).enumerate().for_each(features),
            false => result
                .par_chunks_mut(FEATURES)
                .enumerate()
                .with_min_len((PARALLEL_PRODUCTS / (FEATURES * row_length * DEPTH)).max(1))
                .for_each(features),
        }
    }
    // SAFETY: every output feature of every token is written.
    unsafe { values.set_len(rows.len() * d_output) };
    values
}

/// The codes of a token in the order in which packed words give theirs: of each 256, byte `4 w + b` of
/// the vector `i` is code `16 w + 4 b + i`. Zeros behind the last.
pub(super) fn arrange(row: &[u32]) -> Vec<i8> {
    let mut arranged = vec![0; (row.len() * 4).next_multiple_of(256)];
    for (word, codes) in row.chunks(4).enumerate() {
        let first = word / 16 * 256 + word % 16 * 4;
        for (b, codes) in codes.iter().enumerate() {
            for (i, code) in codes.to_le_bytes().into_iter().enumerate() {
                arranged[first + 64 * i + b] = code as i8;
            }
        }
    }
    arranged
}
