use burn::backend::DType;
use half::{bf16, f16};
use rayon::prelude::*;

use super::codes::Decoder;
use crate::ops::flex::matrix::{Matrix, product as matrix_product};

/// Values of a part of the weight that a thread dequantizes at a time; they stay in its cache.
const PANEL: usize = 1 << 17;

/// Columns of a part in the backward pass.
const COLUMNS: usize = 128;

/// A matrix `[d_output, d_input]` of codes, whose values are rounded to a type.
pub(super) struct Weight<'a> {
    pub values: Decoder<'a>,
    pub shape: [usize; 2],
    pub dtype: DType,
}

impl Weight<'_> {
    /// Writes columns from `column` on, `columns` of them, of the rows from `row` on.
    fn panel(&self, row: usize, column: usize, columns: usize, panel: &mut [f32]) {
        let [_, d_input] = self.shape;
        if columns == d_input {
            self.values.decode(row * d_input, panel);
        } else {
            for (i, values) in panel.chunks_mut(columns).enumerate() {
                self.values.decode((row + i) * d_input + column, values);
            }
        }
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

/// Computes `W X^T`, `[d_output, tokens]`: the threads write rows of their own.
pub(super) fn product(x: &[f32], weight: &Weight<'_>) -> Vec<f32> {
    let [d_output, d_input] = weight.shape;
    let tokens = x.len() / d_input;
    let at_a_time = (PANEL / d_input).max(1);
    let x = Matrix::new(x, tokens, d_input, d_input).transposed();
    let mut outputs = vec![0.0; d_output * tokens];
    let parts = outputs.par_chunks_mut(at_a_time * tokens).enumerate();
    parts.for_each_init(Vec::new, |panel, (i, outputs)| {
        let rows = outputs.len() / tokens;
        panel.resize(rows * d_input, 0.0);
        weight.panel(i * at_a_time, 0, d_input, panel);
        let panel = Matrix::new(panel, rows, d_input, d_input);
        matrix_product(outputs, 1.0, panel, x, false);
    });
    outputs
}

/// Computes `W^T dY^T`, `[d_input, tokens]`: the threads write rows of their own, and add up the rows of the
/// weight in order.
pub(super) fn input_gradient(grads: &[f32], weight: &Weight<'_>) -> Vec<f32> {
    let [d_output, d_input] = weight.shape;
    let tokens = grads.len() / d_output;
    let mut gradients = vec![0.0; d_input * tokens];
    let parts = gradients.par_chunks_mut(COLUMNS * tokens).enumerate();
    parts.for_each_init(Vec::new, |panel, (i, gradients)| {
        let columns = gradients.len() / tokens;
        let at_a_time = PANEL / columns;
        for row in (0..d_output).step_by(at_a_time) {
            let rows = at_a_time.min(d_output - row);
            panel.resize(rows * columns, 0.0);
            weight.panel(row, i * COLUMNS, columns, panel);
            let panel = Matrix::new(panel, rows, columns, columns).transposed();
            let grads = Matrix::new(&grads[row..], tokens, rows, d_output).transposed();
            matrix_product(gradients, 1.0, panel, grads, row > 0);
        }
    });
    gradients
}
