use burn::backend::DType;
use half::{bf16, f16};
use rayon::prelude::*;

use super::codes::Decoder;
use crate::ops::flex::matrix::{Matrix, parallel_product, product as matrix_product};

/// Values of a part of the weight that a thread dequantizes at a time; they stay in its cache.
const PANEL: usize = 1 << 17;

/// Values of a part that all threads dequantize at a time for many tokens, 4 MiB.
const LARGE_PANEL: usize = 1 << 20;

/// Number of tokens from which a product keeps all threads busy.
const MANY: usize = 32;

/// A matrix `[d_output, d_input]` of codes, whose values are rounded to a type.
pub(super) struct Weight<'a> {
    pub values: Decoder<'a>,
    pub shape: [usize; 2],
    pub dtype: DType,
}

impl Weight<'_> {
    /// Writes the values of the rows from `row` on.
    fn rows(&self, row: usize, panel: &mut [f32]) {
        let [_, d_input] = self.shape;
        self.values.decode(row * d_input, panel);
        match self.dtype {
            DType::F16 => panel
                .iter_mut()
                .for_each(|v| *v = f16::from_f32(*v).to_f32()),
            DType::BF16 => panel
                .iter_mut()
                .for_each(|v| *v = bf16::from_f32(*v).to_f32()),
            _ => (),
        }
    }
}

/// Computes `X W^T`, `[tokens, d_output]`.
pub(super) fn product(x: &[f32], weight: &Weight<'_>) -> Vec<f32> {
    let [d_output, d_input] = weight.shape;
    let tokens = x.len() / d_input;
    if tokens < MANY {
        return transposed(&of_few(x, weight), tokens);
    }
    let x = Matrix::new(x, tokens, d_input, d_input);
    let mut output = vec![0.0; tokens * d_output];
    for_each_panel(weight, |row, panel| {
        let rows = panel.len() / d_input;
        let panel = Matrix::new(panel, rows, d_input, d_input).transposed();
        parallel_product(&mut output[row..], d_output, x, panel, false);
    });
    output
}

/// Computes `dY W`, `[tokens, d_input]`.
pub(super) fn input_gradient(grads: &[f32], weight: &Weight<'_>) -> Vec<f32> {
    let [d_output, d_input] = weight.shape;
    let tokens = grads.len() / d_output;
    let mut gradient = vec![0.0; tokens * d_input];
    for_each_panel(weight, |row, panel| {
        let rows = panel.len() / d_input;
        let panel = Matrix::new(panel, rows, d_input, d_input);
        let grads = Matrix::new(&grads[row..], tokens, rows, d_output);
        parallel_product(&mut gradient, d_input, grads, panel, row > 0);
    });
    gradient
}

/// Dequantizes rows of the weight on all threads, some at a time, and calls `product` with the first row and the
/// values.
fn for_each_panel(weight: &Weight<'_>, mut product: impl FnMut(usize, &[f32])) {
    let [d_output, d_input] = weight.shape;
    let at_a_time = (LARGE_PANEL / d_input).max(1);
    let of_thread = (PANEL / d_input).clamp(1, at_a_time);
    let mut panel = Vec::new();
    for row in (0..d_output).step_by(at_a_time) {
        panel.resize(at_a_time.min(d_output - row) * d_input, 0.0);
        let parts = panel.par_chunks_mut(of_thread * d_input).enumerate();
        parts.for_each(|(i, part)| weight.rows(row + i * of_thread, part));
        product(row, &panel);
    }
}

/// Computes `W X^T`, `[d_output, tokens]`: the threads write rows of their own.
fn of_few(x: &[f32], weight: &Weight<'_>) -> Vec<f32> {
    let [d_output, d_input] = weight.shape;
    let tokens = x.len() / d_input;
    let at_a_time = (PANEL / d_input).max(1);
    let x = Matrix::new(x, tokens, d_input, d_input).transposed();
    let mut outputs = vec![0.0; d_output * tokens];
    let parts = outputs.par_chunks_mut(at_a_time * tokens).enumerate();
    parts.for_each_init(Vec::new, |panel, (i, outputs)| {
        let rows = outputs.len() / tokens;
        panel.resize(rows * d_input, 0.0);
        weight.rows(i * at_a_time, panel);
        let panel = Matrix::new(panel, rows, d_input, d_input);
        matrix_product(outputs, 1.0, panel, x, false);
    });
    outputs
}

/// Returns the transpose of a matrix with few columns.
fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    let column = |column: usize| values.iter().skip(column).step_by(columns).copied();
    (0..columns).flat_map(column).collect()
}
