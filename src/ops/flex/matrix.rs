//! Products of matrices inside larger tensors.

use std::mem::MaybeUninit;

use gemm::Parallelism;

use super::slices::filled;

/// A matrix in memory, with the strides of its rows and columns.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Creates a matrix of rows of contiguous values, `row_stride` apart.
    pub fn new(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(
            rows == 0 || (rows - 1) * row_stride + columns <= values.len(),
            "{rows} rows of {columns}, {row_stride} apart, are not in {} values",
            values.len()
        );
        Self {
            values,
            rows,
            columns,
            row_stride,
            column_stride: 1,
        }
    }

    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// Computes the row-major `output = scale * a b`, or adds it to `output` with `add`, on this thread only.
pub(super) fn product(output: &mut [f32], scale: f32, a: Matrix<'_>, b: Matrix<'_>, add: bool) {
    let parallelism = Parallelism::None;
    product_on(as_uninit(output), b.columns, scale, a, b, add, parallelism);
}

/// Computes `output = a b`, or adds it to `output` with `add`, on all threads. The rows of the output are `row_stride`
/// apart.
pub(super) fn parallel_product(
    output: &mut [f32],
    row_stride: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
    add: bool,
) {
    let (output, parallelism) = (as_uninit(output), Parallelism::Rayon(0));
    product_on(output, row_stride, 1.0, a, b, add, parallelism);
}

/// Writes `output = a b` on all threads. The rows of the output are `row_stride` apart.
pub(super) fn write_parallel_product(
    output: &mut [MaybeUninit<f32>],
    row_stride: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
) {
    let parallelism = Parallelism::Rayon(0);
    product_on(output, row_stride, 1.0, a, b, false, parallelism);
}

/// Returns `a b`, row-major, computed on all threads.
pub(super) fn new_parallel_product(a: Matrix<'_>, b: Matrix<'_>) -> Vec<f32> {
    let [rows, columns] = [a.rows, b.columns];
    let fill = |output: &mut [MaybeUninit<f32>]| write_parallel_product(output, columns, a, b);
    // SAFETY: the product has a value for each place.
    unsafe { filled(rows * columns, fill) }
}

/// Returns values as places to write values to.
pub(super) fn as_uninit(values: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    // SAFETY: the layouts are the same, and only values are written here.
    unsafe { &mut *(std::ptr::from_mut(values) as *mut [MaybeUninit<f32>]) }
}

/// Computes a product; with `add`, the output has values.
fn product_on(
    output: &mut [MaybeUninit<f32>],
    row_stride: usize,
    scale: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
    add: bool,
    parallelism: Parallelism,
) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert!(k == b.rows && n <= row_stride && (m == 0 || (m - 1) * row_stride + n <= output.len()));
    // SAFETY: the matrices are inside their slices, and the product inside the output, which is only read with `add`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            output.as_mut_ptr().cast::<f32>(),
            1,
            row_stride as isize,
            add,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}
