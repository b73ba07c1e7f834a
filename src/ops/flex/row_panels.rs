//! Products with a matrix whose values are computed some rows at a time, so that there is never a matrix of all of
//! them.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::{
    matrix::{
        Matrix, new_parallel_product, parallel_product, product as matrix_product,
        write_parallel_product,
    },
    slices::filled,
};

/// Values that a thread computes at a time; they stay in its cache.
const PANEL: usize = 1 << 17;

/// Values that all threads compute at a time for many tokens, 4 MiB.
const LARGE_PANEL: usize = 1 << 20;

/// Number of tokens from which a product keeps all threads busy.
const MANY: usize = 32;

/// A matrix whose rows are computed when they are needed.
pub(super) trait RowPanels: Sync {
    /// Returns the numbers of rows and columns.
    fn shape(&self) -> [usize; 2];

    /// Writes the values of the rows from `row` on.
    fn write_rows(&self, row: usize, panel: &mut [f32]);
}

/// Computes `X W^T`, `[tokens, rows]`, of `x` `[tokens, columns]`.
pub(super) fn product_transposed(x: &[f32], weight: &impl RowPanels) -> Vec<f32> {
    let [rows, columns] = weight.shape();
    let tokens = x.len() / columns;
    if tokens < MANY {
        return transposed(&of_few(x, weight), tokens);
    }
    let x = Matrix::new(x, tokens, columns, columns);
    let fill = |output: &mut [MaybeUninit<f32>]| {
        for_each_panel(weight, |row, panel| {
            let at_a_time = panel.len() / columns;
            let panel = Matrix::new(panel, at_a_time, columns, columns).transposed();
            write_parallel_product(&mut output[row..], rows, x, panel);
        });
    };
    // SAFETY: each panel writes the columns of its rows.
    unsafe { filled(tokens * rows, fill) }
}

/// Computes `X W`, `[tokens, columns]`, of `x` `[tokens, rows]`.
pub(super) fn product(x: &[f32], weight: &impl RowPanels) -> Vec<f32> {
    let [rows, columns] = weight.shape();
    let tokens = x.len() / rows;
    let mut output = Vec::new();
    for_each_panel(weight, |row, panel| {
        let at_a_time = panel.len() / columns;
        let panel = Matrix::new(panel, at_a_time, columns, columns);
        let x = Matrix::new(&x[row..], tokens, at_a_time, rows);
        match row {
            0 => output = new_parallel_product(x, panel),
            _ => parallel_product(&mut output, columns, x, panel, true),
        }
    });
    output
}

/// Computes rows of the weight on all threads, some at a time, and calls `product` with the first row and the values.
fn for_each_panel(weight: &impl RowPanels, mut product: impl FnMut(usize, &[f32])) {
    let [rows, columns] = weight.shape();
    let at_a_time = (LARGE_PANEL / columns).max(1);
    let of_thread = (PANEL / columns).clamp(1, at_a_time);
    let mut panel = Vec::new();
    for row in (0..rows).step_by(at_a_time) {
        panel.resize(at_a_time.min(rows - row) * columns, 0.0);
        let parts = panel.par_chunks_mut(of_thread * columns).enumerate();
        parts.for_each(|(i, part)| weight.write_rows(row + i * of_thread, part));
        product(row, &panel);
    }
}

/// Computes `W X^T`, `[rows, tokens]`: the threads write rows of their own.
fn of_few(x: &[f32], weight: &impl RowPanels) -> Vec<f32> {
    let [rows, columns] = weight.shape();
    let tokens = x.len() / columns;
    let at_a_time = (PANEL / columns).max(1);
    let x = Matrix::new(x, tokens, columns, columns).transposed();
    let mut outputs = vec![0.0; rows * tokens];
    let parts = outputs.par_chunks_mut(at_a_time * tokens).enumerate();
    parts.for_each_init(Vec::new, |panel, (i, outputs)| {
        let rows = outputs.len() / tokens;
        panel.resize(rows * columns, 0.0);
        weight.write_rows(i * at_a_time, panel);
        let panel = Matrix::new(panel, rows, columns, columns);
        matrix_product(outputs, 1.0, panel, x, false);
    });
    outputs
}

/// Returns the transpose of a matrix with few columns.
fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    let column = |column: usize| values.iter().skip(column).step_by(columns).copied();
    (0..columns).flat_map(column).collect()
}
