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

/// Defines `tile` and `dot` by the `rows_tile` and `dot_row` of an instruction set, four rows or tokens at a
/// time. A generic function would be compiled without the instructions.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
macro_rules! loops_over_rows {
    ($(#[$features:meta])*) => {
        /// Computes the sums of rows with the columns of panels.
        $(#[$features])*
        pub(super) fn tile(panels: &[Panel<'_>], rows: Rows<'_>, sums: &mut [Sums]) {
            for (p, &panel) in panels.iter().enumerate() {
                let mut done = 0;
                while done < sums.len() {
                    let (rows, sums) = (rows.slice(done, sums.len() - done), &mut sums[done..]);
                    done += match sums.len() {
                        4.. => put(p, rows_tile::<4>(panel, rows), sums),
                        2.. => put(p, rows_tile::<2>(panel, rows), sums),
                        _ => put(p, rows_tile::<1>(panel, rows), sums),
                    };
                }
            }
        }

        /// Computes the sums of packed rows with tokens of [arranged](super::dot::arrange) codes.
        $(#[$features])*
        pub(super) fn dot(rows: &[&[u32]], codes: &[i8], sums: &mut [FeatureSums]) {
            let length = codes.len() / sums.len().max(1);
            let (fours, rest) = sums.as_chunks_mut::<4>();
            let (codes, rest_codes) = codes.split_at(4 * fours.len() * length);
            for (sums, codes) in fours.iter_mut().zip(codes.chunks((4 * length).max(1))) {
                for (i, row) in rows.iter().enumerate() {
                    let row_sums = dot_row::<4>(row, codes);
                    sums.iter_mut()
                        .zip(row_sums)
                        .for_each(|(sums, sum)| sums[i] = sum);
                }
            }
            for (sums, codes) in rest.iter_mut().zip(rest_codes.chunks(length.max(1))) {
                for (sum, row) in sums.iter_mut().zip(rows) {
                    [*sum] = dot_row::<1>(row, codes);
                }
            }
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
pub(super) use loops_over_rows;

/// Stores the sums with a panel in their rows, and returns the number of rows.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
#[inline]
pub(super) fn put<const N: usize>(
    panel: usize,
    tile: [[i32; COLUMNS]; N],
    sums: &mut [Sums],
) -> usize {
    for (sums, tile) in sums.iter_mut().zip(tile) {
        sums[panel] = tile;
    }
    N
}
