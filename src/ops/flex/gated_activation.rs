//! Gated activation `activation(gate) * up`, and its gradients.

use std::mem::MaybeUninit;

use rayon::prelude::*;
use rten_simd::SimdUnaryOp;
use rten_vecmath::Sigmoid;

use super::slices::{PARALLEL_CHUNK, filled, map_chunks, vectorized};
use crate::ops::GatedActivation;

/// Number of values whose sigmoids are computed at a time, so that they stay in the L1 cache.
const PIECE: usize = 1024;

/// Returns `max(x, 0)`; a NaN stays a NaN.
#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

pub(super) fn gated_activation(gate: &[f32], up: &[f32], activation: GatedActivation) -> Vec<f32> {
    let products = |start: usize, gate: &[f32], output: &mut [MaybeUninit<f32>]| {
        let up = &up[start..][..gate.len()];
        match activation {
            GatedActivation::SquaredRelu => {
                for ((y, &gate), up) in output.iter_mut().zip(gate).zip(up) {
                    let relu = relu(gate);
                    y.write(relu * relu * up);
                }
            }
            GatedActivation::Silu => {
                let sigmoids = Sigmoid {}.map(gate, output);
                for ((y, gate), up) in sigmoids.iter_mut().zip(gate).zip(up) {
                    *y *= gate * up;
                }
            }
        }
    };
    // SAFETY: every value of every piece is written.
    unsafe { map_chunks(gate, PARALLEL_CHUNK, products) }
}

/// A range of values, and the outputs of their gradients.
struct Piece<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    grads: &'a [f32],
    activation: GatedActivation,
    of_gate: &'a mut [MaybeUninit<f32>],
    of_up: &'a mut [MaybeUninit<f32>],
}

impl pulp::NullaryFnOnce for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        match self.activation {
            GatedActivation::SquaredRelu => self.of_squared_relu(),
            GatedActivation::Silu => self.of_silu(),
        }
    }
}

impl Piece<'_> {
    #[inline(always)]
    fn of_squared_relu(self) {
        let inputs = self.gate.iter().zip(self.up).zip(self.grads);
        let outputs = self.of_gate.iter_mut().zip(self.of_up);
        for (((&gate, up), grad), (of_gate, of_up)) in inputs.zip(outputs) {
            let relu = relu(gate);
            of_gate.write(2.0 * relu * (up * grad));
            of_up.write(relu * relu * grad);
        }
    }

    /// Returns `silu(g)' = s + g s (1 - s)` with `s = sigmoid(g)`.
    #[inline(always)]
    fn of_silu(self) {
        let mut buffer = [MaybeUninit::uninit(); PIECE];
        let inputs = self.gate.chunks(PIECE).zip(self.up.chunks(PIECE));
        let inputs = inputs.zip(self.grads.chunks(PIECE));
        let outputs = self
            .of_gate
            .chunks_mut(PIECE)
            .zip(self.of_up.chunks_mut(PIECE));
        for (((gate, up), grads), (of_gate, of_up)) in inputs.zip(outputs) {
            let sigmoids = Sigmoid {}.map(gate, &mut buffer[..gate.len()]);
            let inputs = gate.iter().zip(up).zip(grads).zip(sigmoids);
            for ((((g, up), grad), s), (of_gate, of_up)) in
                inputs.zip(of_gate.iter_mut().zip(of_up))
            {
                let silu = g * *s;
                of_gate.write((*s + silu - silu * *s) * (up * grad));
                of_up.write(silu * grad);
            }
        }
    }
}

/// Returns the gradients of `gate` and `up`.
pub(super) fn gradient(
    gate: &[f32],
    up: &[f32],
    grads: &[f32],
    activation: GatedActivation,
) -> (Vec<f32>, Vec<f32>) {
    let fill = |of_gate: &mut [MaybeUninit<f32>], of_up: &mut [MaybeUninit<f32>]| {
        let inputs = gate
            .par_chunks(PARALLEL_CHUNK)
            .zip(up.par_chunks(PARALLEL_CHUNK));
        let inputs = inputs.zip(grads.par_chunks(PARALLEL_CHUNK));
        let outputs = of_gate.par_chunks_mut(PARALLEL_CHUNK);
        let outputs = outputs.zip(of_up.par_chunks_mut(PARALLEL_CHUNK));
        inputs
            .zip(outputs)
            .for_each(|(((gate, up), grads), (of_gate, of_up))| {
                vectorized(Piece {
                    gate,
                    up,
                    grads,
                    activation,
                    of_gate,
                    of_up,
                });
            });
    };
    let n = gate.len();
    let mut of_up = Vec::new();
    // SAFETY: every value of every piece is written, in both.
    let of_gate = unsafe { filled(n, |of_gate| of_up = filled(n, |of_up| fill(of_gate, of_up))) };
    (of_gate, of_up)
}
