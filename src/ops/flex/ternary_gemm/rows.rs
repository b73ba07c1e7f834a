use super::{COLUMNS, DEPTH, PANELS};
use crate::ops::flex::slices::vectorized;

/// Codes of activations: four bytes to a word, the first in the lowest bits, each row padded with zeros to a
/// multiple of sixteen.
#[derive(Clone, Copy)]
pub(in crate::ops::flex) struct Rows<'a> {
    words: &'a [u32],
    /// Words of a row.
    stride: usize,
}

impl<'a> Rows<'a> {
    /// Creates rows of codes of `d_input` input features.
    pub fn new(words: &'a [u32], d_input: usize) -> Self {
        let stride = bitnet_burn_kernels::packing::code_words_per_row(d_input);
        assert_eq!(words.len() % stride.max(1), 0, "rows of {stride} words");
        Self { words, stride }
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.words.len().checked_div(self.stride).unwrap_or(0)
    }

    /// Returns the words of a row.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &'a [u32] {
        &self.words[row * self.stride..][..self.stride]
    }

    /// Returns a range of the rows.
    #[inline(always)]
    pub fn slice(&self, start: usize, len: usize) -> Self {
        Self {
            words: &self.words[start * self.stride..][..len * self.stride],
            ..*self
        }
    }

    /// Returns the number of blocks of sixteen codes in a row.
    #[inline(always)]
    pub fn depth(&self) -> usize {
        self.stride / (DEPTH / 4)
    }

    /// Returns the sum of the codes of each row.
    pub fn totals(self) -> Vec<i32> {
        vectorized(Totals(self))
    }
}

struct Totals<'a>(Rows<'a>);

impl pulp::NullaryFnOnce for Totals<'_> {
    type Output = Vec<i32>;

    #[inline(always)]
    fn call(self) -> Vec<i32> {
        let sum = |row: usize| {
            let codes: &[i8] = bytemuck::cast_slice(self.0.row(row));
            codes.iter().map(|&code| code as i32).sum()
        };
        (0..self.0.len()).map(sum).collect()
    }
}

/// Sums of one row of activations with the columns of panels.
pub(super) type Sums = [[i32; COLUMNS]; PANELS];
