//! Products with frozen weights, and sums of products of low rank.

use burn::backend::{DType, Flex, TensorMetadata, ops::FloatTensorOps, tensor::FloatTensor};
use burn_flex::FlexTensor;
use half::{bf16, f16};

use super::{
    half_precision::HalfPrecision,
    matrix::{Matrix, as_uninit, new_parallel_product, parallel_product},
    row_panels::{RowPanels, product, product_transposed},
    slices::vectorized,
    values::{Values, from_values},
};
use crate::ops::AdapterOps;

impl AdapterOps for Flex {
    fn frozen_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        linear(&x, &in_type_of(&x, weight))
    }

    fn frozen_linear_gradient(
        grads: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        linear(&grads, &in_type_of(&grads, weight).transpose(0, 1))
    }

    fn addmm(
        y: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let n = b.shape()[1];
        let is_f32 = [&y, &a, &b].iter().all(|t| t.dtype() == DType::F32);
        if !is_f32 || !y.is_contiguous() || y.layout().start_offset() > 0 {
            return Self::float_add(y, Self::float_matmul(a, b));
        }
        let [a_values, b_values] = [&a, &b].map(Values::of);
        let [m, rank] = a.shape().dims();
        let a = Matrix::new(&a_values, m, rank, rank);
        let b = Matrix::new(&b_values, rank, n, n);
        let mut y = y;
        // Copies the values if another tensor has them, too.
        parallel_product(&mut y.storage_mut::<f32>()[..m * n], n, a, b, true);
        y
    }
}

/// Returns a weight beside values of 16 bits in their type; beside `f32` values that of any type is as it is.
fn in_type_of(x: &FlexTensor, weight: FlexTensor) -> FlexTensor {
    match x.dtype() == DType::F32 || x.dtype() == weight.dtype() {
        true => weight,
        false => Flex::float_cast(weight, x.dtype().into()),
    }
}

/// Computes `X W` of a weight of any type and of rows or columns that are contiguous.
fn linear(x: &FlexTensor, weight: &FlexTensor) -> FlexTensor {
    let [d_input, d_output] = weight.shape().dims();
    let mut shape = x.shape();
    let last = shape.num_dims() - 1;
    shape[last] = d_output;
    let [row, column] = [0, 1].map(|dim| weight.layout().strides()[dim]);
    let values = Values::of(x);
    let product = match (weight.dtype(), row == 1 && column != 1) {
        _ if shape.num_elements() == 0 || d_input == 0 => vec![0.0; shape.num_elements()],
        (dtype, true) => of_rows(&values, &weight.transpose(0, 1), dtype, true),
        (dtype, false) => of_rows(&values, weight, dtype, false),
    };
    from_values(product, shape, x.dtype())
}

/// Computes the product with a row-major weight, or with its transpose.
fn of_rows(x: &[f32], weight: &FlexTensor, dtype: DType, transposed: bool) -> Vec<f32> {
    let shape: [usize; 2] = weight.shape().dims();
    match dtype {
        DType::F32 => {
            let values = Values::of(weight);
            let [rows, columns] = shape;
            let weight = Matrix::new(&values, rows, columns, columns);
            let weight = if transposed {
                weight.transposed()
            } else {
                weight
            };
            let d_input = shape[usize::from(transposed)];
            let x = Matrix::new(x, x.len() / d_input, d_input, d_input);
            new_parallel_product(x, weight)
        }
        DType::F16 => of_half::<f16>(x, weight, shape, transposed),
        DType::BF16 => of_half::<bf16>(x, weight, shape, transposed),
        dtype => panic!("weights are f32, f16 or bf16, got {dtype:?}"),
    }
}

fn of_half<E: HalfPrecision + burn::backend::Element + bytemuck::Pod>(
    x: &[f32],
    weight: &FlexTensor,
    shape: [usize; 2],
    transposed: bool,
) -> Vec<f32> {
    let weight = weight.to_contiguous();
    let weight = HalfRows {
        values: weight.as_slice::<E>().unwrap_or_default(),
        shape,
    };
    match transposed {
        true => product_transposed(x, &weight),
        false => product(x, &weight),
    }
}

/// A row-major matrix of 16-bit values.
struct HalfRows<'a, E> {
    values: &'a [E],
    shape: [usize; 2],
}

impl<E: HalfPrecision> RowPanels for HalfRows<'_, E> {
    fn shape(&self) -> [usize; 2] {
        self.shape
    }

    fn write_rows(&self, row: usize, panel: &mut [f32]) {
        let [_, columns] = self.shape;
        let values = &self.values[row * columns..][..panel.len()];
        vectorized(|| E::widen(values, as_uninit(panel)));
    }
}
