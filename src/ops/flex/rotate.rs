//! Rotation of pairs by the angles of their positions.

use std::mem::MaybeUninit;

use burn::backend::{Shape, TensorMetadata};
use burn_flex::FlexTensor;

use super::{
    slices::{map_chunks, rows_chunk},
    values::{Values, from_values},
};

/// Rotates `x`, `[batch, heads, positions, d_head]`.
pub(super) fn rotate(x: &FlexTensor, cos: &FlexTensor, sin: &FlexTensor, back: bool) -> FlexTensor {
    let [batch, heads, positions, d_head] = x.shape().dims();
    let dtype = x.dtype();
    let (cos, sin) = (Values::of(cos), Values::of(sin));
    let turned = |x: &FlexTensor, position: &(dyn Fn(usize) -> usize + Sync)| {
        turn(&Values::of(x), [&cos, &sin], d_head, position, back)
    };
    // In the layout of a projection the heads of a position are neighbors; it is kept.
    let by_position = x.transpose(1, 2);
    if by_position.is_contiguous() {
        let values = turned(&by_position, &|row| row / heads % positions);
        let shape = Shape::new([batch, positions, heads, d_head]);
        return from_values(values, shape, dtype).transpose(1, 2);
    }
    from_values(turned(x, &|row| row % positions), x.shape(), dtype)
}

/// Rotates rows of `n` values, given the position of each.
fn turn(
    x: &[f32],
    [cos, sin]: [&[f32]; 2],
    n: usize,
    position: &(dyn Fn(usize) -> usize + Sync),
    back: bool,
) -> Vec<f32> {
    let half = n / 2;
    let sign = if back { -1.0 } else { 1.0 };
    let rows = |start: usize, input: &[f32], output: &mut [MaybeUninit<f32>]| {
        let rows = input.chunks_exact(n).zip(output.chunks_exact_mut(n));
        for (i, (row, output)) in rows.enumerate() {
            let angles = position(start / n + i) * half..;
            let angles = cos[angles.clone()].iter().zip(&sin[angles]);
            let (a, b) = row.split_at(half);
            let (turned_a, turned_b) = output.split_at_mut(half);
            let turned = turned_a.iter_mut().zip(turned_b);
            for (((a, b), (cos, sin)), (turned_a, turned_b)) in
                a.iter().zip(b).zip(angles).zip(turned)
            {
                let sin = sin * sign;
                turned_a.write(a * cos - b * sin);
                turned_b.write(b * cos + a * sin);
            }
        }
    };
    // SAFETY: every row of every piece is written.
    unsafe { map_chunks(x, rows_chunk(n), rows) }
}
