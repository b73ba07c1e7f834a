//! Ternary codes and their fake quantization.

use cubecl::{client::Client, prelude::*, server::Handle};

use super::launch::{buffer, elementwise, index, vector_size};
use super::statistic::group_statistic;
use crate::{Groups, Statistic};

/// Returns the ternary code `clamp(round(value / scale), -1, 1)`, ties to even, as a float.
///
/// Two comparisons avoid a rounding instruction, whose ties differ between devices. A NaN gets the
/// code 0; the scale of its group is NaN, and so is the product.
#[cube]
pub(super) fn ternary_code(value: f32, scale: f32) -> f32 {
    let scaled = value * (1.0f32 / scale);
    let positive = select(scaled > 0.5f32, 1.0f32, 0.0f32);
    let negative = select(scaled < -0.5f32, 1.0f32, 0.0f32);
    positive - negative
}

/// Returns the index of the scale of the value at `position`.
#[cube]
pub(super) fn scale_index(position: usize, size: usize, inner: usize) -> usize {
    position / (size * inner) * inner + position % inner
}

/// Each unit quantizes one vector, whose values share a scale.
#[cube(launch_unchecked)]
pub(super) fn quantize<F: Float, N: Size>(
    input: &[Vector<F, N>],
    scales: &[f32],
    output: &mut [Vector<F, N>],
    vectors: u32,
    size: u32,
    inner: u32,
    #[define(F)] _dtype: ElemType,
) {
    let position = ABSOLUTE_POS;
    if position >= vectors as usize {
        terminate!();
    }
    let first = position * N::value();
    let scale = scales[scale_index(first, size as usize, inner as usize)];
    let value = input[position];
    let mut quantized = Vector::<F, N>::empty();
    #[unroll]
    for lane in 0..N::value() {
        let code = ternary_code(f32::cast_from(value.extract(lane)), scale);
        quantized.insert(lane, F::cast_from(code * scale));
    }
    output[position] = quantized;
}

/// Computes `gamma = max(mean|W|, 1e-5)` of every group into `scales` and
/// `Q(W) = clamp(round(W / gamma), -1, 1) * gamma` into `output`.
///
/// # Shapes
///
/// - input, output: `groups.num_elements()` values of type `dtype`
/// - scales: `groups.num_groups()` values `f32`
pub fn ternary_fake_quant(
    client: &Client,
    input: &Handle,
    output: &Handle,
    scales: &Handle,
    groups: Groups,
    dtype: ElemType,
) {
    group_statistic(client, input, scales, groups, Statistic::AbsMean, dtype);
    if groups.num_elements() == 0 {
        return;
    }
    let width = vector_size(client, groups, dtype);
    let vectors = groups.num_elements() / width;
    let (cube_count, cube_dim) = elementwise(client, vectors);
    // SAFETY: units beyond `vectors` stop, and `scale_index` stays below the number of groups.
    unsafe {
        quantize::launch_unchecked(
            client,
            cube_count,
            cube_dim,
            width,
            buffer(input, vectors),
            buffer(scales, groups.num_groups()),
            buffer(output, vectors),
            index(vectors),
            index(groups.size),
            index(groups.inner),
            dtype,
        );
    }
}
