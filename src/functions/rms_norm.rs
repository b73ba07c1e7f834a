use burn::{
    backend::Dispatch,
    tensor::{Tensor, assert_shape},
};

use super::operand::assert_float;
use crate::ops::TransformerOps;

/// Applies root mean square normalization over the last dimension:
/// `y = x / sqrt(mean(x^2) + epsilon) * gamma`.
///
/// Computes the same as Burn's [`RmsNorm`](burn::nn::RmsNorm), in one pass over the memory instead of six.
/// Its own gradient saves only `x` and `gamma` for backward: with `z = x / rms` and `g = gamma dL/dy`,
/// `dL/dx = (g - z mean(g z)) / rms` and `dL/dgamma = sum z dL/dy` over all rows. Computed in f32 for any
/// type of the values and rounded to it once.
///
/// Source: [RMSNorm](https://arxiv.org/abs/1910.07467).
///
/// # Shapes
///
/// - x, output: `[.., n]`, f32, f16 or bf16
/// - gamma: `[n]`
///
/// # Panics
///
/// If `gamma` has another length than the last dimension, or the type is none of the above.
///
/// # Example
///
/// ```
/// use bitnet_burn::functions::rms_norm;
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::default();
/// let x = Tensor::<2>::from_floats([[3.0, -3.0], [0.5, 0.5]], &device);
/// let y = rms_norm(x, Tensor::ones([2], &device), 0.0);
/// assert_eq!(y.into_data().to_vec::<f32>().unwrap(), [1.0, -1.0, 1.0, 1.0]);
/// ```
#[track_caller]
pub fn rms_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, epsilon: f64) -> Tensor<D> {
    assert_float("rms_norm", &x);
    let [n] = gamma.dims();
    assert_shape!(x, [.., n]);
    if x.shape().num_elements() == 0 && !x.is_autodiff() {
        return x;
    }
    let y = Dispatch::rms_norm(x.into_dispatch(), gamma.into_dispatch(), epsilon as f32);
    Tensor::from_dispatch(y)
}
