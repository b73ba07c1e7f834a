//! Fake quantization to evenly spaced levels with given steps and zero points, and its gradients.

use cubecl::{client::Client, prelude::*, server::Handle};

use super::absmax::round_ties_even;
use super::launch::{buffer, elementwise, index, vector_size};
use super::ternary::scale_index;
use crate::{GradientRule, Groups, QuantRange};

/// Returns whether a value is NaN, by its bits: `clamp` drops a NaN on most devices, and shader
/// compilers assume that comparisons have none.
#[cube]
fn is_nan(value: f32) -> bool {
    (u32::reinterpret(value) & 0x7fff_ffffu32) > 0x7f80_0000u32
}

/// Each unit quantizes one vector, whose values share a step.
#[cube(launch_unchecked)]
pub(super) fn affine_quantize<F: Float, N: Size>(
    input: &[Vector<F, N>],
    steps: &[f32],
    zero_points: &[f32],
    output: &mut [Vector<F, N>],
    vectors: u32,
    size: u32,
    inner: u32,
    min: f32,
    max: f32,
    #[define(F)] _dtype: ElemType,
) {
    let position = ABSOLUTE_POS;
    if position >= vectors as usize {
        terminate!();
    }
    let group = scale_index(position * N::value(), size as usize, inner as usize);
    let (step, zero_point) = (steps[group], zero_points[group]);
    let value = input[position];
    let mut quantized = Vector::<F, N>::empty();
    #[unroll]
    for lane in 0..N::value() {
        let v = f32::cast_from(value.extract(lane)) / step + zero_point;
        let code = select(is_nan(v), v, clamp(round_ties_even(v), min, max));
        quantized.insert(lane, F::cast_from((code - zero_point) * step));
    }
    output[position] = quantized;
}

/// Kind of gradient rule; the number in the rule is a run-time value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Rule {
    Clipped,
    Tanh,
    Sigmoid,
    StepSize,
}

#[cube]
fn clipped(v: f32, zero_point: f32, min: f32, max: f32, bound: f32) -> f32 {
    let x = v - zero_point;
    let inside = x >= bound * (min - zero_point) && x <= bound * (max - zero_point);
    select(inside, 1.0f32, 0.0f32)
}

#[cube]
fn tanh_slope(v: f32, min: f32, max: f32, temperature: f32) -> f32 {
    let threshold = clamp(f32::floor(v), min, max - 1.0f32) + 0.5f32;
    let k = 1.0f32 / temperature;
    let slope = f32::tanh((v - threshold) * k);
    let factor = k / (2.0f32 * f32::tanh(0.5f32 * k)) * (1.0f32 - slope * slope);
    select(v >= min && v <= max, factor, 0.0f32)
}

#[cube]
fn sigmoid_slopes(v: f32, min: f32, max: f32, temperature: f32) -> f32 {
    let reach = GradientRule::SIGMOID_REACH * temperature;
    let mut sum = 0.0f32;
    // Written with comparisons, which are false for a NaN.
    if v >= min - reach && v <= max + reach {
        let mut lower = max_of(min, f32::floor(v - reach));
        let last = min_of(max - 1.0f32, v + reach);
        while lower <= last {
            let decay = f32::exp(-f32::abs((v - (lower + 0.5f32)) / temperature));
            sum += decay / ((1.0f32 + decay) * (1.0f32 + decay));
            lower += 1.0f32;
        }
    }
    sum / temperature
}

#[cube]
fn max_of(a: f32, b: f32) -> f32 {
    select(a > b, a, b)
}

#[cube]
fn min_of(a: f32, b: f32) -> f32 {
    select(a < b, a, b)
}

#[cube]
fn step_size_slope(v: f32, min: f32, max: f32) -> f32 {
    // Three comparisons, which are false for a NaN, so that it gets 0.
    let outside = select(v < min, min, select(v > max, max, 0.0f32));
    select(v >= min && v <= max, round_ties_even(v) - v, outside)
}

#[cube]
fn factor(
    v: f32,
    zero_point: f32,
    min: f32,
    max: f32,
    parameter: f32,
    #[comptime] rule: Rule,
) -> f32 {
    match comptime!(rule) {
        Rule::Clipped => clipped(v, zero_point, min, max, parameter),
        Rule::Tanh => tanh_slope(v, min, max, parameter),
        Rule::Sigmoid => sigmoid_slopes(v, min, max, parameter),
        Rule::StepSize => step_size_slope(v, min, max),
    }
}

/// Each unit takes one vector, whose values share a step.
#[cube(launch_unchecked)]
pub(super) fn affine_multiply<F: Float, N: Size>(
    input: &[Vector<F, N>],
    grads: &[Vector<F, N>],
    steps: &[f32],
    zero_points: &[f32],
    output: &mut [Vector<F, N>],
    vectors: u32,
    size: u32,
    inner: u32,
    min: f32,
    max: f32,
    parameter: f32,
    #[comptime] rule: Rule,
    #[define(F)] _dtype: ElemType,
) {
    let position = ABSOLUTE_POS;
    if position >= vectors as usize {
        terminate!();
    }
    let group = scale_index(position * N::value(), size as usize, inner as usize);
    let (step, zero_point) = (steps[group], zero_points[group]);
    let (value, grad) = (input[position], grads[position]);
    let mut products = Vector::<F, N>::empty();
    #[unroll]
    for lane in 0..N::value() {
        let v = f32::cast_from(value.extract(lane)) / step + zero_point;
        let factor = factor(v, zero_point, min, max, parameter, rule);
        products.insert(
            lane,
            F::cast_from(f32::cast_from(grad.extract(lane)) * factor),
        );
    }
    output[position] = products;
}

/// Computes `Q(x) = (clamp(round(x / step + zero_point), min, max) - zero_point) * step`.
///
/// # Shapes
///
/// - input, output: `groups.num_elements()` values of type `dtype`
/// - steps, zero_points: `groups.num_groups()` values `f32`
#[allow(clippy::too_many_arguments)]
pub fn affine_fake_quant(
    client: &Client,
    input: &Handle,
    steps: &Handle,
    zero_points: &Handle,
    output: &Handle,
    groups: Groups,
    codes: QuantRange,
    dtype: ElemType,
) {
    if groups.num_elements() == 0 {
        return;
    }
    let width = vector_size(client, groups, dtype);
    let vectors = groups.num_elements() / width;
    let (cube_count, cube_dim) = elementwise(client, vectors);
    // SAFETY: units beyond `vectors` stop, and `scale_index` stays below the number of groups.
    unsafe {
        affine_quantize::launch_unchecked(
            client,
            cube_count,
            cube_dim,
            width,
            buffer(input, vectors),
            buffer(steps, groups.num_groups()),
            buffer(zero_points, groups.num_groups()),
            buffer(output, vectors),
            index(vectors),
            index(groups.size),
            index(groups.inner),
            codes.min,
            codes.max,
            dtype,
        );
    }
}

/// Multiplies each gradient by the factor of `rule` for its value.
///
/// # Shapes
///
/// - input, grads, output: `groups.num_elements()` values of type `dtype`
/// - steps, zero_points: `groups.num_groups()` values `f32`
#[allow(clippy::too_many_arguments)]
pub fn affine_gradient(
    client: &Client,
    input: &Handle,
    grads: &Handle,
    steps: &Handle,
    zero_points: &Handle,
    output: &Handle,
    groups: Groups,
    codes: QuantRange,
    rule: GradientRule,
    dtype: ElemType,
) {
    if groups.num_elements() == 0 {
        return;
    }
    let (rule, parameter) = match rule {
        GradientRule::Clipped { bound } => (Rule::Clipped, bound),
        GradientRule::Tanh { temperature } => (Rule::Tanh, temperature),
        GradientRule::Sigmoid { temperature } => (Rule::Sigmoid, temperature),
        GradientRule::StepSize => (Rule::StepSize, 0.0),
    };
    let width = vector_size(client, groups, dtype);
    let vectors = groups.num_elements() / width;
    let (cube_count, cube_dim) = elementwise(client, vectors);
    // SAFETY: units beyond `vectors` stop, and `scale_index` stays below the number of groups.
    unsafe {
        affine_multiply::launch_unchecked(
            client,
            cube_count,
            cube_dim,
            width,
            buffer(input, vectors),
            buffer(grads, vectors),
            buffer(steps, groups.num_groups()),
            buffer(zero_points, groups.num_groups()),
            buffer(output, vectors),
            index(vectors),
            index(groups.size),
            index(groups.inner),
            codes.min,
            codes.max,
            parameter,
            rule,
            dtype,
        );
    }
}
