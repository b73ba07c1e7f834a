use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::{DEPTH, Instructions, Output, PARALLEL_PRODUCTS, Panels, Rows};
use crate::ops::flex::{
    disjoint::Disjoint,
    slices::{filled, vectorized},
};

/// Number of tokens up to which rows are read as stored. For more tokens, the rows are first converted to
/// panels.
const MAX_TOKENS: usize = 64;

/// Number of output features computed at a time.
pub(super) const FEATURES: usize = 64;

/// Number of tokens that a row is multiplied with at a time.
pub(super) const TOKENS: usize = 8;

/// Sums of some packed rows with a token.
pub(super) type FeatureSums = [i32; FEATURES];

/// Computes the product of rows of codes with packed rows `[d_output, words]`: `[tokens, d_output]`.
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

/// Computes the product row by row.
pub(super) fn dot_product(
    instructions: Instructions,
    words: &[u32],
    d_output: usize,
    rows: Rows<'_>,
    output: Output<'_>,
) -> Vec<f32> {
    let product = Product {
        instructions,
        words,
        row_length: words.len() / d_output.max(1),
        codes: &arrange(rows),
        totals: &rows.totals(),
        output,
        d_output,
    };
    let fill = |result: &mut [MaybeUninit<f32>]| product.fill(&Disjoint::new(result));
    // SAFETY: every output feature of every token is written.
    unsafe { filled(rows.len() * d_output, fill) }
}

/// The data of a product.
struct Product<'a> {
    instructions: Instructions,
    words: &'a [u32],
    /// Words of a row.
    row_length: usize,
    /// [Arranged](arrange) codes of the tokens.
    codes: &'a [i8],
    totals: &'a [i32],
    output: Output<'a>,
    d_output: usize,
}

impl Product<'_> {
    fn fill(&self, result: &Disjoint<'_>) {
        let products = self.totals.len() * self.words.len() * DEPTH;
        let parts = 0..self.d_output.div_ceil(FEATURES);
        if products < 2 * PARALLEL_PRODUCTS {
            return parts.for_each(|part| self.features(part * FEATURES, result));
        }
        let products = self.totals.len() * FEATURES * self.row_length * DEPTH;
        parts
            .into_par_iter()
            .with_min_len((PARALLEL_PRODUCTS / products.max(1)).max(1))
            .for_each(|part| self.features(part * FEATURES, result));
    }

    /// Computes the outputs of the features from `first` on.
    fn features(&self, first: usize, result: &Disjoint<'_>) {
        let count = FEATURES.min(self.d_output - first);
        let mut rows = [&self.words[..0]; FEATURES];
        let rows = &mut rows[..count];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = &self.words[(first + i) * self.row_length..][..self.row_length];
        }
        let length = self.codes.len() / self.totals.len().max(1);
        for start in (0..self.totals.len()).step_by(TOKENS) {
            let tokens = TOKENS.min(self.totals.len() - start);
            let codes = &self.codes[start * length..][..tokens * length];
            let mut sums = [[0; FEATURES]; TOKENS];
            self.instructions.dot(rows, codes, &mut sums[..tokens]);
            for (token, sums) in (start..).zip(&sums[..tokens]) {
                let at = token * self.d_output + first;
                // SAFETY: each part of the features belongs to one thread, and each token its own outputs.
                let result = unsafe { result.at(at..at + count) };
                let total = self.totals[token];
                self.output
                    .write(token, first, &sums[..count], total, result);
            }
        }
    }
}

/// Returns the codes of each token in the order of the unpacked words: of each 256 codes, byte `j` of
/// vector `i` of 64 is code `4 j + i`. Padded with zeros.
pub(super) fn arrange(rows: Rows<'_>) -> Vec<i8> {
    vectorized(Arrange(rows))
}

struct Arrange<'a>(Rows<'a>);

impl pulp::NullaryFnOnce for Arrange<'_> {
    type Output = Vec<i8>;

    #[inline(always)]
    fn call(self) -> Vec<i8> {
        let blocks = (self.0.depth() * DEPTH).div_ceil(256);
        let mut arranged = vec![0; self.0.len() * blocks * 256];
        let (all, _) = arranged.as_chunks_mut::<256>();
        for (row, token) in all.chunks_mut(blocks.max(1)).enumerate() {
            for (block, words) in token.iter_mut().zip(self.0.row(row).chunks(64)) {
                for (i, codes) in block.as_chunks_mut::<64>().0.iter_mut().enumerate() {
                    for (code, word) in codes.iter_mut().zip(words) {
                        *code = (word >> (8 * i)) as i8;
                    }
                }
            }
        }
        arranged
    }
}
