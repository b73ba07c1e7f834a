use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::{COLUMNS, DEPTH, Instructions, Output, PANELS, PARALLEL_PRODUCTS, Rows};
use crate::ops::flex::{
    disjoint::Disjoint,
    quantizer::ternary_code,
    slices::{PARALLEL_THRESHOLD, vectorized},
};

/// Sixteen codes of each of sixteen output features. The code of input feature `4 i + b` is at bits
/// `8 b + 2 i` of a word, so that a shift by `2 i` leaves four neighboring codes in its bytes.
pub(super) type Block = [u32; COLUMNS];

/// Number of contiguous blocks of a panel; the next ones follow those of the other panels.
const NEIGHBOURS: usize = 4;

/// A ternary weight, packed for products with many tokens: 2 bits a value.
pub(in crate::ops::flex) struct Panels {
    blocks: Vec<Block>,
    d_output: usize,
    /// Blocks of a panel.
    depth: usize,
}

/// Sixteen output features of a weight.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    blocks: &'a [Block],
    /// Distance in blocks from one group of contiguous blocks to the next.
    stride: usize,
    depth: usize,
}

impl<'a> Panel<'a> {
    /// Returns the blocks in the order of the input features.
    pub fn blocks(self) -> impl Iterator<Item = &'a Block> {
        (0..self.depth).map(move |at| self.block(at))
    }

    #[inline(always)]
    pub fn block(self, at: usize) -> &'a Block {
        &self.blocks[at / NEIGHBOURS * self.stride + at % NEIGHBOURS]
    }

    #[inline(always)]
    pub fn depth(&self) -> usize {
        self.depth
    }
}

impl Panels {
    fn zeros(d_input: usize, d_output: usize) -> (Self, usize) {
        let depth = d_input.div_ceil(DEPTH);
        let stride = d_output.div_ceil(COLUMNS) * NEIGHBOURS;
        let blocks = vec![[0; COLUMNS]; depth.div_ceil(NEIGHBOURS) * stride];
        let panels = Self {
            blocks,
            d_output,
            depth,
        };
        (panels, stride)
    }

    /// Packs a latent weight `[d_input, d_output]`, with one scale or one for each output feature.
    pub fn from_latent(weight: &[f32], d_output: usize, scales: &[f32]) -> Self {
        let d_input = weight.len() / d_output.max(1);
        let inverse: Vec<f32> = scales.iter().map(|scale| 1.0 / scale).collect();
        let (mut panels, stride) = Self::zeros(d_input, d_output);
        let rows = NEIGHBOURS * DEPTH * d_output;
        panels
            .blocks
            .par_chunks_mut(stride.max(1))
            .zip(weight.par_chunks(rows.max(1)))
            .with_min_len((PARALLEL_THRESHOLD / rows.max(1)).max(1))
            .for_each_init(
                || vec![0; d_output],
                |words, (blocks, rows)| {
                    vectorized(PackRows {
                        rows,
                        inverse: &inverse,
                        blocks,
                        words,
                    })
                },
            );
        panels
    }

    /// Converts packed rows `[d_output, words]`, in the layout of
    /// [`ternary_pack`](bitnet_burn_kernels::packing).
    pub fn from_packed(words: &[u32], d_output: usize) -> Self {
        let depth = words.len() / d_output.max(1);
        let (mut panels, stride) = Self::zeros(depth * DEPTH, d_output);
        let fill = |(group, blocks): (usize, &mut [Block])| {
            for (panel, blocks) in blocks.chunks_mut(NEIGHBOURS).enumerate() {
                let columns = COLUMNS.min(d_output - panel * COLUMNS);
                let first = group * NEIGHBOURS;
                let used = NEIGHBOURS.min(depth - first);
                for column in 0..columns {
                    let row = &words[(panel * COLUMNS + column) * depth + first..][..used];
                    for (block, &word) in blocks.iter_mut().zip(row) {
                        block[column] = transpose_codes(word);
                    }
                }
            }
        };
        let groups = panels.blocks.par_chunks_mut(stride.max(1)).enumerate();
        let values = stride * COLUMNS * DEPTH;
        groups
            .with_min_len((PARALLEL_THRESHOLD / values.max(1)).max(1))
            .for_each(fill);
        panels
    }

    #[inline(always)]
    fn panel(&self, panel: usize) -> Panel<'_> {
        Panel {
            blocks: &self.blocks[panel * NEIGHBOURS..],
            stride: self.d_output.div_ceil(COLUMNS) * NEIGHBOURS,
            depth: self.depth,
        }
    }

    /// Computes the product with rows of codes: `[tokens, d_output]`.
    pub fn product(&self, rows: Rows<'_>, output: Output<'_>) -> Vec<f32> {
        self.product_with(Instructions::detect(), rows, output)
    }

    pub(super) fn product_with(
        &self,
        instructions: Instructions,
        rows: Rows<'_>,
        output: Output<'_>,
    ) -> Vec<f32> {
        let tokens = rows.len();
        let mut values = Vec::with_capacity(tokens * self.d_output);
        let result = &mut values.spare_capacity_mut()[..tokens * self.d_output];
        if result.is_empty() {
            return values;
        }
        let totals = rows.totals();
        let products = tokens * self.d_output * self.depth * DEPTH;
        let threads = match products < 2 * PARALLEL_PRODUCTS {
            true => 1,
            false => rayon::current_num_threads(),
        };
        let tile = Tile {
            panels: self,
            instructions,
            rows,
            totals: &totals,
            output,
        };
        let block = instructions.rows;
        if threads == 1 {
            tile.fill(0, result, block);
        } else if tokens >= 2 * threads * block {
            result
                .par_chunks_mut(block * self.d_output)
                .enumerate()
                .for_each(|(i, result)| tile.fill(i * block, result, block));
        } else {
            tile.fill_by_columns(result, threads);
        }
        // SAFETY: all paths write every output feature of every token.
        unsafe { values.set_len(tokens * self.d_output) };
        values
    }
}

/// The data of a product.
#[derive(Clone, Copy)]
struct Tile<'a> {
    panels: &'a Panels,
    instructions: Instructions,
    rows: Rows<'a>,
    totals: &'a [i32],
    output: Output<'a>,
}

impl Tile<'_> {
    /// Fills the outputs of neighboring tokens, `block` at a time so that their codes stay in the CPU
    /// cache.
    fn fill(&self, first: usize, result: &mut [MaybeUninit<f32>], block: usize) {
        let d_output = self.panels.d_output;
        for (i, result) in result.chunks_mut(block * d_output).enumerate() {
            let first = first + i * block;
            self.columns(
                0,
                d_output,
                first,
                result.len() / d_output,
                |token, at, sums| {
                    let result = &mut result[(token - first) * d_output + at..];
                    let columns = (PANELS * COLUMNS).min(d_output - at);
                    let total = self.totals[token];
                    self.output
                        .write(token, at, &sums[..columns], total, &mut result[..columns]);
                },
            );
        }
    }

    /// Fills the outputs of few tokens, with the output features divided among the threads.
    fn fill_by_columns(&self, result: &mut [MaybeUninit<f32>], threads: usize) {
        let (tokens, d_output) = (self.rows.len(), self.panels.d_output);
        let width = d_output
            .div_ceil(4 * threads)
            .next_multiple_of(PANELS * COLUMNS);
        let starts: Vec<usize> = (0..d_output).step_by(width).collect();
        let result = Disjoint::new(result);
        starts.into_par_iter().for_each(|start| {
            let end = d_output.min(start + width);
            self.columns(start, end, 0, tokens, |token, at, sums| {
                let (columns, first) = ((PANELS * COLUMNS).min(end - at), token * d_output + at);
                // SAFETY: each thread has output features of its own.
                let result = unsafe { result.at(first..first + columns) };
                let total = self.totals[token];
                self.output
                    .write(token, at, &sums[..columns], total, result);
            });
        });
    }

    /// Calls `write(token, first output feature, sums)` for the output features from `start` to `end`.
    fn columns(
        &self,
        start: usize,
        end: usize,
        first: usize,
        tokens: usize,
        mut write: impl FnMut(usize, usize, &[i32]),
    ) {
        let block = self.instructions.rows;
        let last = end.div_ceil(COLUMNS);
        let mut sums = [[[0; COLUMNS]; PANELS]; MAX_ROWS];
        for at in (first..first + tokens).step_by(block) {
            let sums = &mut sums[..block.min(first + tokens - at)];
            let rows = self.rows.slice(at, sums.len());
            for panel in (start / COLUMNS..last).step_by(PANELS) {
                let panels =
                    [panel, (panel + 1).min(last - 1)].map(|panel| self.panels.panel(panel));
                let panels = &panels[..PANELS.min(last - panel)];
                self.instructions.tile(panels, rows, sums);
                for (token, sums) in sums.iter().enumerate() {
                    write(at + token, panel * COLUMNS, sums.as_flattened());
                }
            }
        }
    }
}

/// Maximum number of rows of a tile for any instructions.
pub(super) const MAX_ROWS: usize = 12;

/// Packer of up to four times sixteen rows of a weight into a group of blocks of each panel.
struct PackRows<'a> {
    rows: &'a [f32],
    inverse: &'a [f32],
    blocks: &'a mut [Block],
    /// Scratch memory of one word per column.
    words: &'a mut [u32],
}

impl pulp::NullaryFnOnce for PackRows<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let words = self.words;
        let d_output = words.len();
        for (i, rows) in self.rows.chunks(DEPTH * d_output).enumerate() {
            words.fill(0);
            // Whole rows at a time, as the compiler optimizes long loops best.
            for (k, row) in rows.chunks(d_output).enumerate() {
                add_codes(words, row, self.inverse, 8 * (k % 4) + 2 * (k / 4));
            }
            let blocks = self.blocks.chunks_mut(NEIGHBOURS);
            for (words, blocks) in words.chunks(COLUMNS).zip(blocks) {
                blocks[i][..words.len()].copy_from_slice(words);
            }
        }
    }
}

/// Inserts the code of every value of a row into its word.
#[inline(always)]
fn add_codes(words: &mut [u32], row: &[f32], inverse: &[f32], shift: usize) {
    let code = |scaled: f32| (ternary_code(scaled) + 1) as u32;
    match *inverse {
        [inverse] => {
            for (word, &value) in words.iter_mut().zip(row) {
                *word |= code(value * inverse) << shift;
            }
        }
        _ => {
            for ((word, &value), &inverse) in words.iter_mut().zip(row).zip(inverse) {
                *word |= code(value * inverse) << shift;
            }
        }
    }
}

/// Returns a word with code `4 i + b` in the place of code `4 b + i`.
#[inline(always)]
fn transpose_codes(mut word: u32) -> u32 {
    // Swaps the corners of each 2 x 2 square, then the squares.
    let swap = (word ^ (word >> 6)) & 0x00CC_00CC;
    word ^= swap ^ (swap << 6);
    let swap = (word ^ (word >> 12)) & 0x0000_F0F0;
    word ^ swap ^ (swap << 12)
}
