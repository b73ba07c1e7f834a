use burn::{backend::Dispatch, tensor::Tensor};

use super::operand::assert_float;
use crate::ops::{Groups, QatOps};

/// Applies the ternary fake quantization of BitNet b1.58 to weights:
/// `Q(W) = clamp(round(W / gamma), -1, 1) * gamma` with `gamma = max(mean|W|, 1e-5)` of each
/// group, ties rounded to even.
///
/// Returns `Q(W)` and the scales `gamma`. The forward value is exactly `code * gamma`: it equals the
/// result of [`ternary_unpack`](super::ternary_unpack) for the packed codes. Under autodiff the
/// gradient of `Q(W)` passes to `W` unchanged (straight-through estimator).
///
/// Source: [The Era of 1-bit LLMs](https://arxiv.org/abs/2402.17764).
///
/// # Shapes
///
/// - weight: `[..]`, f32, f16 or bf16
/// - `Q(W)`: `[..]`, of the type of the weight
/// - scales: `[outer, inner]` of `groups`, f32
///
/// # Panics
///
/// If `groups` does not cover the weight, or its type is none of the above.
///
/// # Example
///
/// ```
/// use bitnet_burn::functions::{Groups, ternary_fake_quant};
/// use burn::tensor::{Device, Tensor};
///
/// let weight = Tensor::<1>::from_floats([0.5, -1.5, 0.25, 1.75], &Device::default());
/// let (quantized, scales) = ternary_fake_quant(weight, Groups::per_tensor(4));
/// assert_eq!(scales.into_scalar::<f32>(), 1.0);
/// assert_eq!(quantized.into_data().to_vec::<f32>().unwrap(), [0.0, -1.0, 0.0, 1.0]);
/// ```
#[track_caller]
pub fn ternary_fake_quant<const D: usize>(
    weight: Tensor<D>,
    groups: Groups,
) -> (Tensor<D>, Tensor<2>) {
    assert_float("ternary_fake_quant", &weight);
    groups.assert_cover(&weight.dims());
    let (quantized, scales) = Dispatch::ternary_fake_quant(weight.into_dispatch(), groups);
    (
        Tensor::from_dispatch(quantized),
        Tensor::from_dispatch(scales),
    )
}
