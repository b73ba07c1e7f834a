//! Even levels with given steps and zero points, value by value, in parallel pieces.

use std::mem::MaybeUninit;

use bitnet_burn_kernels::{CodeRange, GradientRule, Groups, reference::gradient_factor};
use rayon::prelude::*;

use super::slices::{PARALLEL_CHUNK, PARALLEL_THRESHOLD, clamp, filled, round, runs, vectorized};

/// Steps and zero points of groups of values.
#[derive(Clone, Copy)]
pub(super) struct Steps<'a> {
    pub steps: &'a [f32],
    pub zero_points: &'a [f32],
    pub groups: Groups,
}

impl Steps<'_> {
    /// Computes `f(grad, x / step, step, zero_point)` of every value and its gradient.
    fn map_values(
        self,
        values: &[f32],
        grads: &[f32],
        f: impl Fn(f32, f32, f32, f32) -> f32 + Sync,
    ) -> Vec<f32> {
        let num_groups = self.groups.num_groups();
        assert!([self.steps.len(), self.zero_points.len()] == [num_groups; 2]);
        assert!([values.len(), grads.len()] == [self.groups.num_elements(); 2]);
        let piece = |start: usize, output: &mut [MaybeUninit<f32>]| {
            vectorized(Piece {
                values: &values[start..][..output.len()],
                grads: &grads[start..][..output.len()],
                start,
                steps: self,
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
}

/// Neighboring values.
struct Piece<'a, F> {
    values: &'a [f32],
    grads: &'a [f32],
    /// Position of the first value in the tensor.
    start: usize,
    steps: Steps<'a>,
    f: &'a F,
    output: &'a mut [MaybeUninit<f32>],
}

impl<F: Fn(f32, f32, f32, f32) -> f32> pulp::NullaryFnOnce for Piece<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Steps {
            steps,
            zero_points,
            groups,
        } = self.steps;
        let f = self.f;
        for (run, group) in runs(groups, self.start, self.output.len()) {
            let inputs = self.values[run.clone()]
                .iter()
                .zip(&self.grads[run.clone()]);
            let outputs = self.output[run].iter_mut().zip(inputs);
            let (steps, zero_points) = (&steps[group..], &zero_points[group..]);
            if groups.inner == 1 {
                let (step, zero_point) = (steps[0], zero_points[0]);
                for (output, (&value, &grad)) in outputs {
                    output.write(f(grad, value / step, step, zero_point));
                }
            } else {
                let pairs = outputs.zip(steps.iter().zip(zero_points));
                for ((output, (&value, &grad)), (&step, &zero_point)) in pairs {
                    output.write(f(grad, value / step, step, zero_point));
                }
            }
        }
    }
}

pub(super) fn affine_fake_quant(values: &[f32], steps: Steps<'_>, codes: CodeRange) -> Vec<f32> {
    let CodeRange { min, max } = codes;
    let f = move |_, scaled: f32, step: f32, zero_point: f32| {
        // The clamp comes first, so that the sum in `round` stays exact. The result is the same, since the
        // bounds are integers.
        (round(clamp(scaled + zero_point, min, max)) - zero_point) * step
    };
    // There is no gradient; the values are passed in its place.
    steps.map_values(values, values, f)
}

pub(super) fn affine_gradient(
    values: &[f32],
    grads: &[f32],
    steps: Steps<'_>,
    codes: CodeRange,
    rule: GradientRule,
) -> Vec<f32> {
    let CodeRange { min, max } = codes;
    match rule {
        // These two make no library call, and compile to SIMD loops.
        GradientRule::Clipped { bound } => {
            steps.map_values(values, grads, move |grad, scaled, _, z| {
                let v = scaled + z;
                // Always both comparisons: a branch would prevent a SIMD loop.
                let inside = (bound * (min - z) <= v - z) & (v - z <= bound * (max - z));
                grad * if inside { 1.0 } else { 0.0 }
            })
        }
        GradientRule::StepSize => steps.map_values(values, grads, move |grad, scaled, _, z| {
            let v = scaled + z;
            let code = clamp(v, min, max);
            let inside = if code == v { round(v) - v } else { code };
            grad * if v.is_nan() { 0.0 } else { inside }
        }),
        _ => steps.map_values(values, grads, move |grad, scaled, _, z| {
            grad * gradient_factor(scaled + z, z, codes, rule)
        }),
    }
}
