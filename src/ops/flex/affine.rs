//! Even levels with given scales and zero points, value by value, in parallel pieces.

use std::mem::MaybeUninit;

use bitnet_burn_kernels::{GradientRule, Groups, QuantRange, reference::gradient_factor};
use burn::backend::Flex;
use rayon::prelude::*;

use super::{
    slices::{PARALLEL_CHUNK, PARALLEL_THRESHOLD, clamp, filled, round, runs, vectorized},
    values::Values,
};
use crate::ops::AffineLevels;

/// The levels of groups of values.
pub(super) struct Levels<'a> {
    scales: Values<'a>,
    zero_points: Values<'a>,
    groups: Groups,
    codes: QuantRange,
}

impl<'a> Levels<'a> {
    pub fn of(levels: &'a AffineLevels<Flex>) -> Self {
        Self {
            scales: Values::of(&levels.scales),
            zero_points: Values::of(&levels.zero_points),
            groups: levels.groups,
            codes: levels.codes,
        }
    }

    /// Computes `f(grad, x / scale, scale, zero_point)` of every value and its gradient.
    fn map_values(
        &self,
        values: &[f32],
        grads: &[f32],
        f: impl Fn(f32, f32, f32, f32) -> f32 + Sync,
    ) -> Vec<f32> {
        let (scales, zero_points): (&[f32], &[f32]) = (&self.scales, &self.zero_points);
        let num_groups = self.groups.num_groups();
        assert!([scales.len(), zero_points.len()] == [num_groups; 2]);
        assert!([values.len(), grads.len()] == [self.groups.num_elements(); 2]);
        let piece = |start: usize, output: &mut [MaybeUninit<f32>]| {
            vectorized(Piece {
                values: &values[start..][..output.len()],
                grads: &grads[start..][..output.len()],
                start,
                scales,
                zero_points,
                groups: self.groups,
                f: &f,
                output,
            });
        };
        let fill = |output: &mut [MaybeUninit<f32>]| {
            if output.len() < PARALLEL_THRESHOLD {
                return piece(0, output);
            }
            let pieces = output.par_chunks_mut(PARALLEL_CHUNK).enumerate();
            pieces.for_each(|(i, output)| piece(i * PARALLEL_CHUNK, output));
        };
        // SAFETY: the runs of a piece cover it.
        unsafe { filled(values.len(), fill) }
    }

    /// Returns the nearest level of every value.
    pub fn fake_quant(&self, values: &[f32]) -> Vec<f32> {
        let QuantRange { min, max } = self.codes;
        let f = move |_, scaled: f32, scale: f32, zero_point: f32| {
            // The clamp comes first, so that the sum in `round` stays exact. The result is the same, since
            // the bounds are integers.
            (round(clamp(scaled + zero_point, min, max)) - zero_point) * scale
        };
        // There is no gradient; the values are passed in its place.
        self.map_values(values, values, f)
    }

    /// Returns the gradients by a rule.
    pub fn gradient(&self, values: &[f32], grads: &[f32], rule: GradientRule) -> Vec<f32> {
        let codes = self.codes;
        let QuantRange { min, max } = codes;
        match rule {
            // These two make no library call, and compile to SIMD loops.
            GradientRule::Clipped { bound } => {
                self.map_values(values, grads, move |grad, scaled, _, z| {
                    let v = scaled + z;
                    // Always both comparisons: a branch would prevent a SIMD loop.
                    let inside = (bound * (min - z) <= v - z) & (v - z <= bound * (max - z));
                    grad * if inside { 1.0 } else { 0.0 }
                })
            }
            GradientRule::StepSize => self.map_values(values, grads, move |grad, scaled, _, z| {
                let v = scaled + z;
                let code = clamp(v, min, max);
                let inside = if code == v { round(v) - v } else { code };
                grad * if v.is_nan() { 0.0 } else { inside }
            }),
            _ => self.map_values(values, grads, move |grad, scaled, _, z| {
                grad * gradient_factor(scaled + z, z, codes, rule)
            }),
        }
    }
}

/// Neighboring values.
struct Piece<'a, F> {
    values: &'a [f32],
    grads: &'a [f32],
    /// Position of the first value in the tensor.
    start: usize,
    scales: &'a [f32],
    zero_points: &'a [f32],
    groups: Groups,
    f: &'a F,
    output: &'a mut [MaybeUninit<f32>],
}

impl<F: Fn(f32, f32, f32, f32) -> f32> pulp::NullaryFnOnce for Piece<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let f = self.f;
        for (run, group) in runs(self.groups, self.start, self.output.len()) {
            let inputs = self.values[run.clone()]
                .iter()
                .zip(&self.grads[run.clone()]);
            let outputs = self.output[run].iter_mut().zip(inputs);
            let (scales, zero_points) = (&self.scales[group..], &self.zero_points[group..]);
            if self.groups.inner == 1 {
                let (scale, zero_point) = (scales[0], zero_points[0]);
                for (output, (&value, &grad)) in outputs {
                    output.write(f(grad, value / scale, scale, zero_point));
                }
            } else {
                let pairs = outputs.zip(scales.iter().zip(zero_points));
                for ((output, (&value, &grad)), (&scale, &zero_point)) in pairs {
                    output.write(f(grad, value / scale, scale, zero_point));
                }
            }
        }
    }
}
