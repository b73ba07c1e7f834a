//! Hadamard transform as Burn operations: sums and differences of two halves of the values.

use bitnet_burn_kernels::reference::hadamard_scale;
use burn::backend::{Backend, FloatDType, Shape, Slice, TensorMetadata, tensor::FloatTensor};

use super::ungrouped;

pub(in crate::ops) fn hadamard_transform<B: Backend>(
    x: FloatTensor<B>,
    block: usize,
) -> FloatTensor<B> {
    let (shape, dtype) = (x.shape(), x.dtype().into());
    let n = shape.num_elements();
    if n == 0 {
        return x;
    }
    let mut values = B::float_cast(x, FloatDType::F32);
    let mut distance = 1;
    while distance < block {
        let pairs = n / (2 * distance);
        values = B::float_reshape(values, Shape::new([pairs, 2, distance]));
        let half = |values, i: usize| {
            let slices: [Slice; 3] = [(0..pairs).into(), (i..i + 1).into(), (0..distance).into()];
            B::float_slice(values, &slices)
        };
        let (a, b) = (half(values.clone(), 0), half(values, 1));
        let sum = B::float_add(a.clone(), b.clone());
        values = B::float_cat(vec![sum, B::float_sub(a, b)], 1);
        distance *= 2;
    }
    let values = B::float_mul_scalar(values, hadamard_scale(block).into());
    ungrouped::<B>(values, shape, dtype)
}
