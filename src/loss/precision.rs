//! Precision of the losses: f32 or wider, for all types of inputs.

use burn::tensor::{DType, Tensor};

/// Casts a tensor to f32, unless it is wider.
pub(super) fn full_precision<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    match tensor.dtype() {
        DType::F32 | DType::F64 => tensor,
        _ => tensor.cast(DType::F32),
    }
}

/// Returns the mean of all values; 0 if there are none, where Burn returns NaN.
pub(super) fn mean<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let n = tensor.shape().num_elements().max(1);
    tensor.sum().div_scalar(n as f64)
}
