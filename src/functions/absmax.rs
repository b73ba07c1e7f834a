use burn::{backend::Dispatch, tensor::Tensor};

use super::operand::assert_float;
use crate::ops::{Groups, QatOps, QuantRange};

/// Applies symmetric fake quantization to activations:
/// `Q(x) = clamp(round(x * s), -2^(bits-1), 2^(bits-1) - 1) / s` with
/// `s = (2^(bits-1) - 1) / max(max|x|, 1e-5)` of each group, ties rounded to even.
///
/// Returns `Q(x)` and the inverse scales `s`: a code is `round(x * s)`. Under autodiff the gradient of `Q(x)`
/// passes to `x` unchanged (straight-through estimator).
///
/// BitNet b1.58 quantizes to 8 bits per token: `groups = Groups::per_row(&x.dims())`.
/// Source: [The Era of 1-bit LLMs](https://arxiv.org/abs/2402.17764).
///
/// # Shapes
///
/// - x: `[..]`, f32, f16 or bf16
/// - `Q(x)`: `[..]`, of the type of `x`
/// - inverse scales: `[outer, inner]` of `groups`, f32
///
/// # Panics
///
/// If `groups` does not cover `x`, its type is none of the above, or `bits` is not in 2..=8.
///
/// # Example
///
/// ```
/// use bitnet_burn::functions::{Groups, absmax_fake_quant};
/// use burn::tensor::{Device, Tensor};
///
/// let x = Tensor::<2>::from_floats([[127.0, 2.5], [-63.5, 0.2]], &Device::default());
/// let (quantized, inverse_scales) = absmax_fake_quant(x, Groups::per_row(&[2, 2]), 8);
/// assert_eq!(inverse_scales.into_data().to_vec::<f32>().unwrap(), [1.0, 2.0]);
/// assert_eq!(quantized.into_data().to_vec::<f32>().unwrap(), [127.0, 2.0, -63.5, 0.0]);
/// ```
#[track_caller]
pub fn absmax_fake_quant<const D: usize>(
    x: Tensor<D>,
    groups: Groups,
    bits: u8,
) -> (Tensor<D>, Tensor<2>) {
    assert_float("absmax_fake_quant", &x);
    groups.assert_cover(&x.dims());
    let max_code = QuantRange::signed(bits).max;
    let (quantized, inverse_scales) =
        Dispatch::absmax_fake_quant(x.into_dispatch(), groups, max_code);
    (
        Tensor::from_dispatch(quantized),
        Tensor::from_dispatch(inverse_scales),
    )
}
