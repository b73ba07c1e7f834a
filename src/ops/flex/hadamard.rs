//! Hadamard transform on slices.

use std::mem::MaybeUninit;

use bitnet_burn_kernels::reference::hadamard_scale;

use super::slices::{map_chunks, rows_chunk};

/// Number of values whose first stages are computed at once, in registers.
const LANES: usize = 16;

/// Number of values that pass through all stages before the next are read, so that they stay in the L1 cache.
const PIECE: usize = 1024;

/// Computes the stages of blocks of `BLOCK` values within the lanes. `BLOCK` is a constant because the
/// compiler does not vectorize stages with branches between them.
#[inline(always)]
fn stages_in_lanes<const BLOCK: usize>(
    input: &[[f32; LANES]],
    output: &mut [[MaybeUninit<f32>; LANES]],
) {
    for (output, &input) in output.iter_mut().zip(input) {
        let mut lanes = input;
        for distance in [1, 2, 4, 8] {
            if distance < BLOCK {
                let before = lanes;
                for (i, lane) in lanes.iter_mut().enumerate() {
                    *lane = match i & distance == 0 {
                        true => before[i] + before[i ^ distance],
                        false => before[i ^ distance] - before[i],
                    };
                }
            }
        }
        output.write_copy_of_slice(&lanes);
    }
}

/// Computes the stage on neighbors `distance` apart.
#[inline(always)]
fn stage(values: &mut [f32], distance: usize) {
    for pair in values.chunks_exact_mut(2 * distance) {
        let (a, b) = pair.split_at_mut(distance);
        for (a, b) in a.iter_mut().zip(b) {
            (*a, *b) = (*a + *b, *a - *b);
        }
    }
}

/// Returns the distances `first`, `2 first`, .. below `block`.
fn distances(first: usize, block: usize) -> impl Iterator<Item = usize> {
    core::iter::successors(Some(first), |distance| Some(2 * distance))
        .take_while(move |distance| *distance < block)
}

/// Transforms whole blocks.
#[inline(always)]
fn transform(input: &[f32], output: &mut [MaybeUninit<f32>], block: usize, scale: f32) {
    let (lanes, rest) = input.as_chunks::<LANES>();
    let (transformed, rest_transformed) = output.as_chunks_mut::<LANES>();
    match block {
        1 => stages_in_lanes::<1>(lanes, transformed),
        2 => stages_in_lanes::<2>(lanes, transformed),
        4 => stages_in_lanes::<4>(lanes, transformed),
        8 => stages_in_lanes::<8>(lanes, transformed),
        _ => stages_in_lanes::<LANES>(lanes, transformed),
    }
    // Only blocks shorter than the lanes leave a rest.
    let rest_transformed = rest_transformed.write_copy_of_slice(rest);
    for distance in distances(1, block.min(LANES)) {
        stage(rest_transformed, distance);
    }
    // SAFETY: the lanes and the rest are written above.
    let output = unsafe { output.assume_init_mut() };
    for distance in distances(LANES, block) {
        stage(output, distance);
    }
    output.iter_mut().for_each(|v| *v *= scale);
}

pub(super) fn hadamard_transform(values: &[f32], block: usize) -> Vec<f32> {
    let scale = hadamard_scale(block);
    let piece = block.max(PIECE);
    let pieces = |_, input: &[f32], output: &mut [MaybeUninit<f32>]| {
        for (input, output) in input.chunks(piece).zip(output.chunks_mut(piece)) {
            transform(input, output, block, scale);
        }
    };
    // SAFETY: every piece is written.
    unsafe { map_chunks(values, rows_chunk(piece), pieces) }
}
