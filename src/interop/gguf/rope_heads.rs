//! Order of the rows of queries and keys, whose heads are rotated by their positions.
//!
//! transformers and this crate rotate rows `i` and `i + d / 2` of a head together; llama.cpp's `llama`
//! has each two of them side by side.

use super::Architecture;
use crate::interop::architecture::Parameter;

impl Architecture {
    /// Rows of this crate in the order of the architecture.
    pub(super) fn permute_rope_heads<T: Copy>(
        self,
        parameter: &Parameter,
        values: Vec<T>,
    ) -> Vec<T> {
        self.reordered(parameter, values, interleave_rows)
    }

    /// The inverse of [`permute_rope_heads`](Self::permute_rope_heads).
    pub(super) fn unpermute_rope_heads<T: Copy>(
        self,
        parameter: &Parameter,
        values: Vec<T>,
    ) -> Vec<T> {
        self.reordered(parameter, values, deinterleave_rows)
    }

    fn reordered<T: Copy>(
        self,
        parameter: &Parameter,
        values: Vec<T>,
        reorder: impl Fn(&[T], usize, usize) -> Vec<T>,
    ) -> Vec<T> {
        match parameter.rope_heads {
            Some(heads) if self.has_interleaved_rows() => {
                reorder(&values, heads, parameter.row_len())
            }
            _ => values,
        }
    }
}

/// Rows `i` and `i + d / 2` of each head side by side.
fn interleave_rows<T: Copy>(values: &[T], heads: usize, row_len: usize) -> Vec<T> {
    reorder(values, heads, row_len, |row, half| row % 2 * half + row / 2)
}

/// The inverse of [`interleave_rows`].
fn deinterleave_rows<T: Copy>(values: &[T], heads: usize, row_len: usize) -> Vec<T> {
    reorder(values, heads, row_len, |row, half| {
        row % half * 2 + row / half
    })
}

fn reorder<T: Copy>(
    values: &[T],
    heads: usize,
    row_len: usize,
    source: impl Fn(usize, usize) -> usize,
) -> Vec<T> {
    let d_head = values.len() / (heads * row_len).max(1);
    let rows = (0..heads * d_head).map(|row| {
        let (head, row) = (row / d_head, row % d_head);
        head * d_head + source(row, d_head / 2)
    });
    rows.flat_map(|row| &values[row * row_len..(row + 1) * row_len])
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_interleaved_as_in_llama_cpp() {
        // Two heads of four rows of one value.
        let values = [0, 1, 2, 3, 10, 11, 12, 13];
        let interleaved = interleave_rows(&values, 2, 1);
        assert_eq!(interleaved, [0, 2, 1, 3, 10, 12, 11, 13]);
        assert_eq!(deinterleave_rows(&interleaved, 2, 1), values);
        let wide: Vec<i32> = (0..48).collect();
        assert_eq!(deinterleave_rows(&interleave_rows(&wide, 2, 4), 2, 4), wide);
    }
}
