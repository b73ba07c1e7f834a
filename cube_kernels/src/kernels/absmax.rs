//! Absmax fake quantization of activations.

use cubecl::{client::Client, prelude::*, server::Handle};

use super::launch::{buffer, elementwise, index, one_cube_each, reduce_units, vector_size};
use super::statistic::{at_least_epsilon, group_statistic, reduce_in_cube};
use super::ternary::scale_index;
use crate::{Groups, Statistic};

/// Rounds `value` to the nearest integer, ties to even.
///
/// Truncation and comparisons avoid a rounding instruction, whose ties differ between devices:
/// CubeCL's `round` is `Round` in SPIR-V, which leaves ties open. All steps but the comparisons are
/// exact, so that compilers cannot change them by fusing operations.
#[cube]
pub(super) fn round_ties_even(value: f32) -> f32 {
    let towards_zero = f32::trunc(value);
    let away = towards_zero + select(value < 0.0f32, -1.0f32, 1.0f32);
    // Both are doubled: then the middle between two integers is an integer.
    let twice = f32::abs(value) * 2.0f32;
    let middle = f32::abs(towards_zero) * 2.0f32 + 1.0f32;
    let odd = f32::trunc(towards_zero * 0.5f32) * 2.0f32 != towards_zero;
    let at_tie = select(odd, away, towards_zero);
    let nearest = select(twice > middle, away, towards_zero);
    select(twice == middle, at_tie, nearest)
}

/// Computes `clamp(round(v * s), -max_code - 1, max_code) / s`, lane by lane.
#[cube]
fn fake_quantize<F: Float, N: Size>(
    value: Vector<F, N>,
    scale: f32,
    max_code: f32,
) -> Vector<F, N> {
    let scaled = Vector::<f32, N>::cast_from(value) * Vector::new(scale);
    let mut rounded = Vector::<f32, N>::empty();
    #[unroll]
    for lane in 0..N::value() {
        rounded.insert(lane, round_ties_even(scaled.extract(lane)));
    }
    let code = clamp(
        rounded,
        Vector::new(-max_code - 1.0f32),
        Vector::new(max_code),
    );
    Vector::cast_from(code / Vector::new(scale))
}

/// Each cube takes one row: its maximum, then its values.
#[cube(launch_unchecked)]
pub(super) fn quantize_rows<F: Float, N: Size>(
    input: &[Vector<F, N>],
    output: &mut [Vector<F, N>],
    scales: &mut [f32],
    rows: u32,
    row_vectors: u32,
    max_code: f32,
    #[comptime] units: u32,
    #[define(F)] _dtype: ElemType,
) {
    let row = CUBE_POS;
    if row >= rows as usize {
        terminate!();
    }
    let row_vectors = row_vectors as usize;
    let start = row * row_vectors;
    let absmax = reduce_in_cube::<F, N>(
        input,
        start,
        row_vectors,
        0u32,
        comptime!(Statistic::AbsMax),
        units,
    );
    let scale = max_code / at_least_epsilon(absmax);
    if UNIT_POS == 0 {
        scales[row] = scale;
    }
    let mut i = UNIT_POS as usize;
    while i < row_vectors {
        output[start + i] = fake_quantize::<F, N>(input[start + i], scale, max_code);
        i += CUBE_DIM as usize;
    }
}

/// Each unit turns one `max|x|` into its scale `max_code / max|x|`.
#[cube(launch_unchecked)]
pub(super) fn invert(absmax: &[f32], scales: &mut [f32], groups: u32, max_code: f32) {
    let position = ABSOLUTE_POS;
    if position >= groups as usize {
        terminate!();
    }
    scales[position] = max_code / absmax[position];
}

/// Each unit quantizes one vector, whose values share a scale.
#[cube(launch_unchecked)]
pub(super) fn quantize_with_scales<F: Float, N: Size>(
    input: &[Vector<F, N>],
    scales: &[f32],
    output: &mut [Vector<F, N>],
    vectors: u32,
    size: u32,
    inner: u32,
    max_code: f32,
    #[define(F)] _dtype: ElemType,
) {
    let position = ABSOLUTE_POS;
    if position >= vectors as usize {
        terminate!();
    }
    let first = position * N::value();
    let scale = scales[scale_index(first, size as usize, inner as usize)];
    output[position] = fake_quantize::<F, N>(input[position], scale, max_code);
}

/// Largest row that is quantized by one cube. A longer row, such as a whole tensor, is first reduced by
/// many cubes.
const MAX_ROW_VALUES: usize = 65_536;

/// Computes `s = max_code / max(max|x|, 1e-5)` of every group into `scales` and
/// `Q(x) = clamp(round(x * s), -max_code - 1, max_code) / s` into `output`.
///
/// `max_code` is `2^(bits - 1) - 1`: 127 for 8 bits.
///
/// # Shapes
///
/// - input, output: `groups.num_elements()` values of type `dtype`
/// - scales: `groups.num_groups()` values `f32`
pub fn absmax_fake_quant(
    client: &Client,
    input: &Handle,
    output: &Handle,
    scales: &Handle,
    groups: Groups,
    max_code: f32,
    dtype: ElemType,
) {
    if groups.num_groups() == 0 {
        return;
    }
    let width = vector_size(client, groups, dtype);
    let vectors = groups.num_elements() / width;
    if groups.inner == 1 && groups.size <= MAX_ROW_VALUES {
        let units = reduce_units(client);
        let (cube_count, cube_dim) = one_cube_each(client, groups.outer, units);
        // SAFETY: cubes beyond the rows stop, the others stay inside their row.
        unsafe {
            quantize_rows::launch_unchecked(
                client,
                cube_count,
                cube_dim,
                width,
                buffer(input, vectors),
                buffer(output, vectors),
                buffer(scales, groups.outer),
                index(groups.outer),
                index(groups.size / width),
                max_code,
                units,
                dtype,
            );
        }
        return;
    }

    let absmax = client.empty(groups.num_groups() * size_of::<f32>());
    group_statistic(client, input, &absmax, groups, Statistic::AbsMax, dtype);
    let (cube_count, cube_dim) = elementwise(client, groups.num_groups());
    // SAFETY: units beyond the number of groups stop.
    unsafe {
        invert::launch_unchecked(
            client,
            cube_count,
            cube_dim,
            buffer(&absmax, groups.num_groups()),
            buffer(scales, groups.num_groups()),
            index(groups.num_groups()),
            max_code,
        );
    }
    if vectors == 0 {
        return;
    }
    let (cube_count, cube_dim) = elementwise(client, vectors);
    // SAFETY: units beyond `vectors` stop, and `scale_index` stays below the number of groups.
    unsafe {
        quantize_with_scales::launch_unchecked(
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
            max_code,
            dtype,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_without_a_rounding_instruction_is_rounding_to_even() {
        // Quarters around the codes, and the neighbors of both ends of each power of two.
        let quarters = (-1200..=1200).map(|i| i as f32 / 4.0);
        let ends = (0..=255u32).flat_map(|e| [-1i32, 0, 1].map(|d| ((e << 23) as i32 + d) as u32));
        for value in quarters.chain(ends.map(f32::from_bits)) {
            for value in [value, -value, value.next_up(), value.next_down()] {
                let (rounded, expected) = (round_ties_even(value), value.round_ties_even());
                let same_bits = rounded.to_bits() == expected.to_bits();
                assert!(
                    same_bits || (rounded.is_nan() && expected.is_nan()),
                    "{value}"
                );
            }
        }
    }
}
