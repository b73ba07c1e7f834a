//! What losses are computed in: f32 or wider, whatever the model computes in.

use burn::tensor::{DType, Tensor};

/// The tensor in f32, or as it is if it is wider.
pub(super) fn full_precision<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    match tensor.dtype() {
        DType::F32 | DType::F64 => tensor,
        _ => tensor.cast(DType::F32),
    }
}

/// The mean of all values; 0 if there are none, where Burn's is NaN.
pub(super) fn mean<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let n = tensor.shape().num_elements().max(1);
    tensor.sum().div_scalar(n as f64)
}
