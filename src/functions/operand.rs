//! Checks of operands.

use burn::tensor::{DType, Tensor};

use crate::ops::Groups;

/// Panics unless the operation supports the tensor's type.
#[track_caller]
pub(super) fn assert_float<const D: usize>(operation: &str, tensor: &Tensor<D>) {
    let dtype = tensor.dtype();
    assert!(
        matches!(dtype, DType::F32 | DType::F16 | DType::BF16),
        "{operation} takes f32, f16 or bf16 values, got {dtype:?}"
    );
}

/// Panics unless the tensor has one `f32` for each group.
#[track_caller]
pub(super) fn assert_per_group(what: &str, tensor: &Tensor<2>, groups: Groups) {
    assert_eq!(
        tensor.dims(),
        groups.scale_shape(),
        "{groups:?} have {what} of shape {:?}, got {:?}",
        groups.scale_shape(),
        tensor.dims()
    );
    assert_eq!(
        tensor.dtype(),
        DType::F32,
        "{what} are f32, got {:?}",
        tensor.dtype()
    );
}
