use std::{mem::MaybeUninit, ops::Range};

use burn::backend::{DType, Element, Shape, TensorMetadata};
use burn_flex::FlexTensor;
use half::{bf16, f16};
use rayon::prelude::*;

use crate::ops::flex::{
    disjoint::Disjoint,
    half_precision::HalfPrecision,
    matrix::Matrix,
    slices::{self, filled, vectorized},
    values::from_values,
};

/// A tensor `[batch, heads, positions, d_head]` whose rows of `d_head` values may lie anywhere in memory.
pub(super) struct Heads {
    tensor: FlexTensor,
    strides: [usize; 3],
}

impl Heads {
    pub fn new(tensor: FlexTensor) -> Self {
        let mut tensor = match tensor.dtype() {
            DType::F16 => widened::<f16>(&tensor),
            DType::BF16 => widened::<bf16>(&tensor),
            _ => tensor,
        };
        if !has_rows(&tensor) {
            tensor = tensor.to_contiguous();
        }
        let strides = tensor.layout().strides();
        let strides = [0, 1, 2].map(|i| strides[i] as usize);
        Self { tensor, strides }
    }

    /// Returns a range of positions of a head.
    pub fn rows(&self, [batch, head]: [usize; 2], positions: Range<usize>) -> Matrix<'_> {
        let [by_batch, by_head, by_position] = self.strides;
        let [.., d_head] = self.tensor.shape().dims::<4>();
        let start = self.tensor.layout().start_offset()
            + batch * by_batch
            + head * by_head
            + positions.start * by_position;
        let values = &self.tensor.storage::<f32>()[start..];
        Matrix::new(values, positions.len(), d_head, by_position)
    }
}

/// Returns whether the values of a row are contiguous, and the rows follow each other.
fn has_rows(heads: &FlexTensor) -> bool {
    let strides = heads.layout().strides();
    strides[3] == 1 && strides.iter().all(|&stride| stride >= 0)
}

/// Returns the tensor in `f32`, row by row. A key cache is a view of its first positions, which Flex copies
/// value by value.
fn widened<E: HalfPrecision + Element + bytemuck::Pod>(heads: &FlexTensor) -> FlexTensor {
    let [batch, n_heads, positions, d_head] = heads.shape().dims();
    let layout = heads.layout();
    if !has_rows(heads) {
        return widened::<E>(&heads.to_contiguous());
    }
    let strides = [0, 1, 2].map(|i| layout.strides()[i] as usize);
    let (values, first) = (heads.storage::<E>(), layout.start_offset());
    let head = |(i, output): (usize, &mut [_])| {
        let start = first + i / n_heads * strides[0] + i % n_heads * strides[1];
        for (position, output) in output.chunks_exact_mut(d_head).enumerate() {
            E::widen(&values[start + position * strides[2]..][..d_head], output);
        }
    };
    let n = positions * d_head;
    let fill = |output: &mut [_]| {
        let heads = output.par_chunks_mut(n).enumerate();
        let at_least = (slices::PARALLEL_THRESHOLD / n).max(1);
        heads
            .with_min_len(at_least)
            .for_each(|head_of| vectorized(|| head(head_of)));
    };
    // SAFETY: every row of every head is written.
    let values = unsafe { filled(batch * n_heads * n, fill) };
    from_values(values, heads.shape(), DType::F32)
}

/// An output `[batch, positions, heads, d_head]`: the heads of a position are contiguous, as needed by the
/// next projection.
pub(super) struct Output<'a> {
    values: Disjoint<'a>,
    positions: usize,
    heads: usize,
    d_head: usize,
}

impl<'a> Output<'a> {
    pub fn new(values: &'a mut [MaybeUninit<f32>], [positions, heads, d_head]: [usize; 3]) -> Self {
        Self {
            values: Disjoint::new(values),
            positions,
            heads,
            d_head,
        }
    }

    /// Writes rows of a head.
    ///
    /// # Safety
    ///
    /// No other thread may write them at the same time.
    pub unsafe fn write(&self, [batch, head]: [usize; 2], first: usize, rows: &[f32]) {
        for (i, row) in rows.chunks_exact(self.d_head).enumerate() {
            let position = batch * self.positions + first + i;
            let start = (position * self.heads + head) * self.d_head;
            // SAFETY: rows do not overlap, and the caller guarantees the rest.
            let output = unsafe { self.values.at(start..start + self.d_head) };
            output.write_copy_of_slice(row);
        }
    }
}

/// Returns `[batch, positions, heads, d_head]` as `[batch, heads, positions, d_head]`.
pub(super) fn by_head(values: Vec<f32>, shape: [usize; 4], dtype: DType) -> FlexTensor {
    from_values(values, Shape::new(shape), dtype).transpose(1, 2)
}
