use burn::{
    backend::Dispatch,
    tensor::{Tensor, assert_shape},
};

use super::operand::assert_float;
use crate::ops::AdapterOps;

/// Computes `Y = X W + b` with a weight that may have another type than `x`, such as bf16 beside f32: the frozen
/// base of an adapter.
///
/// The values of `W` are used in the type of `x`. On Flex they are widened about a million at a time, so that there is
/// never a copy of all of them.
///
/// Under autodiff `dX = dY W^T` and `db = sum dY`, and `x` is not saved for backward. A weight may have a gradient,
/// `dW = X^T dY`, for which `x` is saved; the output is the same.
///
/// # Shapes
///
/// - x: `[.., d_input]`, f32, f16 or bf16
/// - weight: `[d_input, d_output]`, f32, f16 or bf16
/// - bias: `[d_output]`
/// - output: `[.., d_output]`, of the type of `x`
///
/// # Panics
///
/// If `x` is not `[.., d_input]`, the bias is not `[d_output]`, or a type is none of f32, f16 and bf16.
///
/// # Example
///
/// ```
/// use bitnet_burn::functions::frozen_linear;
/// use burn::tensor::{DType, Device, Tensor};
///
/// let device = Device::default();
/// let weight = Tensor::<2>::ones([64, 32], &device);
/// let y = frozen_linear(Tensor::<2>::ones([3, 64], &device), weight, None);
/// assert_eq!(y.dims(), [3, 32]);
/// assert_eq!(y.dtype(), DType::F32);
/// assert_eq!(y.max().into_scalar::<f32>(), 64.0);
/// ```
#[track_caller]
pub fn frozen_linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let [d_input, d_output] = weight.dims();
    assert_float("frozen_linear", &x);
    assert_float("frozen_linear", &weight);
    assert_shape!(x, [.., d_input]);
    let dtype = x.dtype();
    let y = Dispatch::frozen_linear(x.into_dispatch(), weight.into_dispatch());
    let y = Tensor::<D>::from_dispatch(y);
    match bias {
        Some(bias) => {
            assert_shape!(bias, [d_output]);
            y + bias.cast(dtype).unsqueeze()
        }
        None => y,
    }
}
