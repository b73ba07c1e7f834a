//! The Hadamard transform on slices.

use bitnet_burn_kernels::reference::hadamard_scale;

use super::slices::{rows_chunk, zip_chunks};

/// Values whose first stages are done at once, in registers.
const LANES: usize = 16;

/// The stages on neighbours less than `block` apart, within the lanes.
#[inline(always)]
fn stages_in_lanes(mut lanes: [f32; LANES], block: usize) -> [f32; LANES] {
    for distance in [1, 2, 4, 8] {
        if distance < block {
            let before = lanes;
            for (i, lane) in lanes.iter_mut().enumerate() {
                *lane = match i & distance == 0 {
                    true => before[i] + before[i ^ distance],
                    false => before[i ^ distance] - before[i],
                };
            }
        }
    }
    lanes
}

/// The stage on neighbours `distance` apart.
#[inline(always)]
fn stage(values: &mut [f32], distance: usize) {
    for pair in values.chunks_exact_mut(2 * distance) {
        let (a, b) = pair.split_at_mut(distance);
        for (a, b) in a.iter_mut().zip(b) {
            (*a, *b) = (*a + *b, *a - *b);
        }
    }
}

/// The distances `first`, `2 first`, .. below `block`.
fn distances(first: usize, block: usize) -> impl Iterator<Item = usize> {
    core::iter::successors(Some(first), |distance| Some(2 * distance))
        .take_while(move |distance| *distance < block)
}

/// Transforms one block, or as many short ones as the lanes hold (or fewer at the end).
#[inline(always)]
fn transform(input: &[f32], output: &mut [f32], block: usize, scale: f32) {
    let (lanes, rest) = input.as_chunks::<LANES>();
    let (transformed, rest_transformed) = output.as_chunks_mut::<LANES>();
    for (output, input) in transformed.iter_mut().zip(lanes) {
        *output = stages_in_lanes(*input, block);
    }
    // There is a rest only of blocks shorter than the lanes.
    rest_transformed.copy_from_slice(rest);
    for distance in distances(1, block.min(LANES)) {
        stage(rest_transformed, distance);
    }
    for distance in distances(LANES, block) {
        stage(output, distance);
    }
    output.iter_mut().for_each(|v| *v *= scale);
}

pub(super) fn hadamard_transform(values: &[f32], block: usize) -> Vec<f32> {
    let scale = hadamard_scale(block);
    let mut output = vec![0.0; values.len()];
    let piece = block.max(LANES);
    zip_chunks(
        values,
        &mut output,
        rows_chunk(piece),
        |_, input, output| {
            let pieces = input.chunks(piece).zip(output.chunks_mut(piece));
            for (input, output) in pieces {
                transform(input, output, block, scale);
            }
        },
    );
    output
}
