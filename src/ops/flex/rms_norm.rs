//! RMS normalization of rows, and its gradients.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::slices::{LANES, filled, map_chunks, rows_chunk, vectorized};

/// Returns `sum a b`, in many sums, so that an addition does not wait for the previous one.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 4 * LANES];
    let (a_vectors, a_rest) = a.as_chunks::<{ 4 * LANES }>();
    let (b_vectors, b_rest) = b.as_chunks::<{ 4 * LANES }>();
    for (a, b) in a_vectors.iter().zip(b_vectors) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += a * b;
    }
    sums.iter().sum()
}

#[inline(always)]
fn inverse_rms(row: &[f32], epsilon: f32) -> f32 {
    (dot(row, row) / row.len() as f32 + epsilon).sqrt().recip()
}

pub(super) fn rms_norm(x: &[f32], gamma: &[f32], epsilon: f32) -> Vec<f32> {
    let n = gamma.len();
    let rows = |_, input: &[f32], output: &mut [MaybeUninit<f32>]| {
        for (row, output) in input.chunks_exact(n).zip(output.chunks_exact_mut(n)) {
            let inverse = inverse_rms(row, epsilon);
            for ((y, x), gamma) in output.iter_mut().zip(row).zip(gamma) {
                y.write(x * inverse * gamma);
            }
        }
    };
    // SAFETY: every row of every piece is written.
    unsafe { map_chunks(x, rows_chunk(n), rows) }
}

/// A range of rows, with the outputs of their gradients and of their share of that of `gamma`.
struct Rows<'a> {
    x: &'a [f32],
    grads: &'a [f32],
    gamma: &'a [f32],
    epsilon: f32,
    of_x: &'a mut [MaybeUninit<f32>],
    of_gamma: &'a mut [f32],
}

impl pulp::NullaryFnOnce for Rows<'_> {
    type Output = ();

    /// Computes `dL/dx = (g - z mean(g z)) / rms` with `z = x / rms` and `g = gamma dL/dy`, and
    /// `dL/dgamma = sum z dL/dy`.
    #[inline(always)]
    fn call(self) {
        let n = self.gamma.len();
        let mut scaled = vec![0.0; n];
        let rows = self.x.chunks_exact(n).zip(self.grads.chunks_exact(n));
        for ((x, grads), of_x) in rows.zip(self.of_x.chunks_exact_mut(n)) {
            let inverse = inverse_rms(x, self.epsilon);
            for ((scaled, grad), gamma) in scaled.iter_mut().zip(grads).zip(self.gamma) {
                *scaled = grad * gamma;
            }
            let along_x = dot(&scaled, x) * inverse * inverse / n as f32;
            for ((of_x, x), scaled) in of_x.iter_mut().zip(x).zip(&scaled) {
                of_x.write((scaled - x * along_x) * inverse);
            }
            for ((sum, x), grad) in self.of_gamma.iter_mut().zip(x).zip(grads) {
                *sum += x * inverse * grad;
            }
        }
    }
}

/// Returns the gradients of `x` and `gamma`.
pub(super) fn gradient(
    x: &[f32],
    gamma: &[f32],
    grads: &[f32],
    epsilon: f32,
) -> (Vec<f32>, Vec<f32>) {
    let n = gamma.len();
    // The same pieces for any number of threads, so that the sums are the same.
    let chunk = 4 * rows_chunk(n);
    let mut partial = vec![0.0; x.len().div_ceil(chunk) * n];
    let fill = |output: &mut [MaybeUninit<f32>]| {
        let pieces = x.par_chunks(chunk).zip(grads.par_chunks(chunk));
        let outputs = output.par_chunks_mut(chunk).zip(partial.par_chunks_mut(n));
        pieces
            .zip(outputs)
            .for_each(|((x, grads), (of_x, of_gamma))| {
                vectorized(Rows {
                    x,
                    grads,
                    gamma,
                    epsilon,
                    of_x,
                    of_gamma,
                });
            });
    };
    // SAFETY: every row of every piece is written.
    let of_x = unsafe { filled(x.len(), fill) };
    let mut of_gamma = vec![0.0; n];
    for partial in partial.chunks_exact(n) {
        for (sum, value) in of_gamma.iter_mut().zip(partial) {
            *sum += value;
        }
    }
    (of_x, of_gamma)
}
