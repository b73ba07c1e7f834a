//! Numerics in plain, slow scalar code: the reference for every optimized implementation.
//!
//! Formulas follow [The Era of 1-bit LLMs: Training Tips, Code and FAQ][tips] and the
//! implementation in Hugging Face Transformers (`integrations/bitnet.py`).
//!
//! Non-finite values propagate: a NaN or infinity anywhere in a group makes all results of that
//! group non-finite.
//!
//! [tips]: https://github.com/microsoft/unilm/blob/master/bitnet/The-Era-of-1-bit-LLMs__Training_Tips_Code_FAQ.pdf

mod affine;

pub use affine::{affine_code, affine_fake_quant, affine_gradient, gradient_factor};
mod four_bit;
mod hadamard;
mod stochastic_round;

pub use four_bit::{four_bit_dequantize, four_bit_quantize};
pub use hadamard::{hadamard_scale, hadamard_transform};
pub use stochastic_round::{random_bits, stochastic_round_bf16};

use crate::Groups;

/// Lower bound of a scale: `max(mean|W|, EPSILON)` and `max(max|x|, EPSILON)`.
pub const EPSILON: f32 = 1e-5;

/// Returns a power of two `2^-k` with `2^k >= n`. The sum of `n` values multiplied by it cannot overflow
/// unless the values themselves did, and the multiplication is exact.
///
/// (Values so small that they become subnormal lose bits; their mean is far below [`EPSILON`].)
pub fn mean_prescale(n: usize) -> f32 {
    1.0 / (n.max(1).next_power_of_two() as f32)
}

/// Returns the larger of a non-negative `value` and [`EPSILON`]; a NaN stays a NaN.
pub fn at_least_epsilon(value: f32) -> f32 {
    if value < EPSILON { EPSILON } else { value }
}

/// Returns `max(mean|v|, EPSILON)` of a group; the mean of 0 values is 0.
pub fn absmean(values: impl ExactSizeIterator<Item = f32>) -> f32 {
    let n = values.len();
    let prescale = mean_prescale(n);
    // In f64, so that the reference has no summation error of its own.
    let sum: f64 = values.map(|v| (v.abs() * prescale) as f64).sum();
    let mean = if n == 0 {
        0.0
    } else {
        sum / (n as f64 * prescale as f64)
    };
    at_least_epsilon(mean as f32)
}

/// Returns `max(max|v|, EPSILON)` of a group.
pub fn absmax(values: impl Iterator<Item = f32>) -> f32 {
    // As integers, the bit patterns of non-negative floats have the order of their values, with infinity
    // above all numbers and NaN above infinity: the maximum needs no special case.
    let bits = values.map(|v| v.abs().to_bits()).max().unwrap_or(0);
    at_least_epsilon(f32::from_bits(bits))
}

/// Returns the nearest integer in `[min, max]`, ties to even; a NaN stays a NaN.
pub fn round_clamp(value: f32, min: f32, max: f32) -> f32 {
    value.round_ties_even().clamp(min, max)
}

/// Returns the values of group `(outer, inner)` of a flattened tensor.
fn group(values: &[f32], groups: Groups, outer: usize, inner: usize) -> Vec<f32> {
    let start = outer * groups.size * groups.inner + inner;
    (0..groups.size)
        .map(|i| values[start + i * groups.inner])
        .collect()
}

/// Returns the scale of every group by `statistic`, `[outer, inner]` row-major.
fn scales(values: &[f32], groups: Groups, statistic: impl Fn(&[f32]) -> f32) -> Vec<f32> {
    groups.assert_cover(&[values.len()]);
    let mut scales = Vec::with_capacity(groups.num_groups());
    for outer in 0..groups.outer {
        for inner in 0..groups.inner {
            scales.push(statistic(&group(values, groups, outer, inner)));
        }
    }
    scales
}

/// Returns the scale `gamma = max(mean|W|, EPSILON)` of every group.
pub fn absmean_scales(values: &[f32], groups: Groups) -> Vec<f32> {
    scales(values, groups, |group| absmean(group.iter().copied()))
}

/// Returns the scale `max(max|x|, EPSILON)` of every group.
pub fn absmax_scales(values: &[f32], groups: Groups) -> Vec<f32> {
    scales(values, groups, |group| absmax(group.iter().copied()))
}

/// Returns the ternary codes `clamp(round(W * (1 / gamma)), -1, 1)`, as floats, which can hold a NaN.
pub fn ternary_codes(values: &[f32], scales: &[f32], groups: Groups) -> Vec<f32> {
    values
        .iter()
        .enumerate()
        .map(|(i, &v)| round_clamp(v * (1.0 / scales[groups.scale_index(i)]), -1.0, 1.0))
        .collect()
}

/// Returns `Q(W) = code * gamma` and the scales `gamma`.
pub fn ternary_fake_quant(values: &[f32], groups: Groups) -> (Vec<f32>, Vec<f32>) {
    let scales = absmean_scales(values, groups);
    let output = ternary_codes(values, &scales, groups)
        .into_iter()
        .enumerate()
        .map(|(i, code)| code * scales[groups.scale_index(i)])
        .collect();
    (output, scales)
}

/// Returns `Q(x) = clamp(round(x * s), -max_code - 1, max_code) / s` with `s = max_code / absmax`, and the
/// scales `s`. For 8 bits `max_code` is 127.
pub fn absmax_fake_quant(values: &[f32], groups: Groups, max_code: f32) -> (Vec<f32>, Vec<f32>) {
    let scales: Vec<f32> = absmax_scales(values, groups)
        .into_iter()
        .map(|absmax| max_code / absmax)
        .collect();
    let output = values
        .iter()
        .enumerate()
        .map(|(i, &v)| {
            let s = scales[groups.scale_index(i)];
            round_clamp(v * s, -max_code - 1.0, max_code) / s
        })
        .collect();
    (output, scales)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_whose_sum_overflows_is_finite() {
        let gamma = absmean([3e38f32; 4].into_iter());
        assert_eq!(gamma, 3e38);
    }

    #[test]
    fn ties_round_to_even() {
        // The mean is 1, so that 0.5 lies between codes 0 and 1, and 1.5 between 1 and 2.
        let (quantized, scales) =
            ternary_fake_quant(&[0.5, -0.5, 1.5, -1.5], Groups::per_tensor(4));
        assert_eq!(scales, [1.0]);
        assert_eq!(quantized, [0.0, 0.0, 1.0, -1.0]);
    }

    #[test]
    fn zeros_stay_zeros_and_nan_stays_nan() {
        let (zeros, scales) = ternary_fake_quant(&[0.0; 3], Groups::per_tensor(3));
        assert_eq!((zeros, scales), (vec![0.0; 3], vec![EPSILON]));
        for bad in [f32::NAN, f32::INFINITY] {
            let groups = Groups::per_tensor(3);
            let (ternary, _) = ternary_fake_quant(&[1.0, bad, 0.5], groups);
            let (int8, _) = absmax_fake_quant(&[1.0, bad, 0.5], groups, 127.0);
            assert!(!ternary[1].is_finite() && !int8[1].is_finite());
        }
    }

    #[test]
    fn no_values_have_the_smallest_scale() {
        assert_eq!(absmean([].into_iter()), EPSILON);
        assert_eq!(absmax([].into_iter()), EPSILON);
    }
}
