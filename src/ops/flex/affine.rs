//! Even levels with given steps and zero points: each value by itself, in parallel pieces.

use bitnet_burn_kernels::{CodeRange, GradientRule, Groups, reference::gradient_factor};
use rayon::prelude::*;

use super::slices::{PARALLEL_CHUNK, PARALLEL_THRESHOLD, round, vectorized};

/// Runs `f(offset, length, group)` on the runs of neighbouring values, from position `start` of a
/// tensor on, that share the step of `group`, or have those of it and the groups after it.
#[inline(always)]
fn for_each_run(
    groups: Groups,
    start: usize,
    length: usize,
    mut f: impl FnMut(usize, usize, usize),
) {
    let mut done = 0;
    while done < length {
        let position = start + done;
        let run = match groups.inner {
            1 => groups.size - position % groups.size,
            inner => inner - position % inner,
        };
        let run = run.min(length - done);
        f(done, run, groups.scale_index(position));
        done += run;
    }
}

/// `f(inputs, step, zero_point)` of every value, where `inputs` has the value of each tensor.
fn map_values<const N: usize>(
    inputs: [&[f32]; N],
    steps: &[f32],
    zero_points: &[f32],
    groups: Groups,
    f: impl Fn([f32; N], f32, f32) -> f32 + Sync,
) -> Vec<f32> {
    let length = inputs[0].len();
    let mut output = vec![0.0; length];
    let piece = |start: usize, output: &mut [f32]| {
        for_each_run(groups, start, output.len(), |offset, run, group| {
            let inputs = inputs.map(|input| &input[start + offset..][..run]);
            let output = &mut output[offset..][..run];
            if groups.inner == 1 {
                let (step, zero_point) = (steps[group], zero_points[group]);
                for (i, o) in output.iter_mut().enumerate() {
                    *o = f(inputs.map(|input| input[i]), step, zero_point);
                }
            } else {
                let (steps, zero_points) = (&steps[group..][..run], &zero_points[group..][..run]);
                for (i, o) in output.iter_mut().enumerate() {
                    *o = f(inputs.map(|input| input[i]), steps[i], zero_points[i]);
                }
            }
        });
    };
    if length < PARALLEL_THRESHOLD {
        vectorized(|| piece(0, &mut output));
    } else {
        output
            .par_chunks_mut(PARALLEL_CHUNK)
            .enumerate()
            .for_each(|(i, output)| vectorized(|| piece(i * PARALLEL_CHUNK, output)));
    }
    output
}

pub(super) fn affine_fake_quant(
    values: &[f32],
    steps: &[f32],
    zero_points: &[f32],
    groups: Groups,
    codes: CodeRange,
) -> Vec<f32> {
    let CodeRange { min, max } = codes;
    map_values(
        [values],
        steps,
        zero_points,
        groups,
        // The clamp comes first, so that the sum in `round` stays exact; it gives the same, since
        // the bounds are integers.
        |[v], step, zero_point| {
            (round((v / step + zero_point).clamp(min, max)) - zero_point) * step
        },
    )
}

pub(super) fn affine_gradient(
    values: &[f32],
    grads: &[f32],
    steps: &[f32],
    zero_points: &[f32],
    groups: Groups,
    codes: CodeRange,
    rule: GradientRule,
) -> Vec<f32> {
    let CodeRange { min, max } = codes;
    let inputs = [values, grads];
    match rule {
        // The two without a call of a library function, as loops that become SIMD instructions.
        GradientRule::Clipped { bound } => {
            map_values(inputs, steps, zero_points, groups, |[x, grad], step, z| {
                let v = x / step + z;
                // Both comparisons always: a branch would keep the loop from becoming SIMD.
                let inside = (bound * (min - z) <= v - z) & (v - z <= bound * (max - z));
                grad * if inside { 1.0 } else { 0.0 }
            })
        }
        GradientRule::StepSize => {
            map_values(inputs, steps, zero_points, groups, |[x, grad], step, z| {
                let v = x / step + z;
                let code = v.clamp(min, max);
                let inside = if code == v { round(v) - v } else { code };
                grad * if v.is_nan() { 0.0 } else { inside }
            })
        }
        _ => map_values(inputs, steps, zero_points, groups, |[x, grad], step, z| {
            grad * gradient_factor(x / step + z, z, codes, rule)
        }),
    }
}
