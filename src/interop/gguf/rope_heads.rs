//! Order of the rows of queries and keys, whose heads are rotated by their positions.
//!
//! transformers and this crate rotate rows `i` and `i + d / 2` of a head together; llama.cpp's `llama`
//! has each two of them side by side.

use super::Architecture;
use crate::interop::architecture::Parameter;

impl Architecture {
    /// Rows of this crate in the order of the architecture: those of a weight or a bias, or of a factor of as many.
    pub(super) fn permute_rope_heads<T: Copy>(
        self,
        parameter: &Parameter,
        values: Vec<T>,
    ) -> Vec<T> {
        self.reordered(parameter, values, interleaved)
    }

    /// The inverse of [`permute_rope_heads`](Self::permute_rope_heads).
    pub(super) fn unpermute_rope_heads<T: Copy>(
        self,
        parameter: &Parameter,
        values: Vec<T>,
    ) -> Vec<T> {
        self.reordered(parameter, values, apart)
    }

    fn reordered<T: Copy>(
        self,
        parameter: &Parameter,
        values: Vec<T>,
        source: fn(usize, usize) -> usize,
    ) -> Vec<T> {
        match parameter.rope_heads {
            Some(heads) if self.has_interleaved_rows() => {
                let row_len = values.len() / parameter.shape[0];
                reorder(&values, heads, row_len, source)
            }
            _ => values,
        }
    }
}

/// The row, of those apart by half a head, that comes to a place side by side with its other one.
fn interleaved(place: usize, half: usize) -> usize {
    place % 2 * half + place / 2
}

/// The inverse of [`interleaved`].
fn apart(place: usize, half: usize) -> usize {
    place % half * 2 + place / half
}

fn reorder<T: Copy>(
    values: &[T],
    heads: usize,
    row_len: usize,
    source: fn(usize, usize) -> usize,
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
        let side_by_side = reorder(&values, 2, 1, interleaved);
        assert_eq!(side_by_side, [0, 2, 1, 3, 10, 12, 11, 13]);
        assert_eq!(reorder(&side_by_side, 2, 1, apart), values);
        let wide: Vec<i32> = (0..48).collect();
        let there = reorder(&wide, 2, 4, interleaved);
        assert_eq!(reorder(&there, 2, 4, apart), wide);
    }
}
