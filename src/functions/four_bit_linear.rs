use burn::{backend::Dispatch, tensor::Tensor};

use super::{
    FourBitTensor,
    bit_linear::{bias_or_none, empty_sum, reshape},
    operand::assert_float,
};
use crate::ops::{FourBitOps, FourBitWeight};

/// Computes `Y = X W^T + b` with a weight of 4 bits, the base of QLoRA.
///
/// The values of `W` are those of [`four_bit_dequantize`](super::four_bit_dequantize) in the type of `x`,
/// but there is never a matrix of all of them: Flex dequantizes about 100 000 at a time on each thread,
/// other backends a million. CubeCL's dequantize none for up to 16 tokens if `d_input` is a multiple of 8.
///
/// Under autodiff `dX = dY W` and `db = sum dY`. The weight is frozen, and the input is not saved for
/// backward.
///
/// Source: [QLoRA](https://arxiv.org/abs/2305.14314), equation 5.
///
/// # Shapes
///
/// - x: `[.., d_input]`, f32, f16 or bf16
/// - weight: `[d_output, d_input]`, the transpose of a weight of Burn
/// - bias: `[d_output]`, of the type of `x`
/// - output: `[.., d_output]`, of the type of `x`
///
/// # Panics
///
/// If shapes or types do not fit.
///
/// # Example
///
/// ```
/// use bitnet_burn::{functions::{FourBitFormat, four_bit_linear, four_bit_quantize}, quant::FourBitType};
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::default();
/// let format = FourBitFormat { quant_type: FourBitType::Nf4, block_size: 64 };
/// let weight = four_bit_quantize(Tensor::<2>::ones([32, 64], &device), format);
/// let y = four_bit_linear(Tensor::<2>::ones([3, 64], &device), &weight.double_quantized(), None);
/// assert_eq!(y.dims(), [3, 32]);
/// assert_eq!(y.max().into_scalar::<f32>(), 64.0);
/// ```
#[track_caller]
pub fn four_bit_linear<const D: usize>(
    x: Tensor<D>,
    weight: &FourBitTensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    assert_float("four_bit_linear", &x);
    weight.assert_fits();
    let [d_output, d_input] = weight.shape;
    let mut shape = x.dims();
    assert!(
        shape[D - 1] == d_input,
        "the weight of 4 bits takes {d_input} features, got x of shape {shape:?}"
    );
    let tokens = shape[..D - 1].iter().product();
    shape[D - 1] = d_output;
    let bias = bias_or_none(&x, bias, d_output);
    if tokens * d_input * d_output == 0 {
        return empty_sum(&x, shape, bias);
    }
    let weight = FourBitWeight {
        words: weight.codes.clone().into_dispatch(),
        absmax: weight.absmax.clone().into(),
        format: weight.format,
        shape: weight.shape,
    };
    let x = reshape(x, [tokens, d_input]).into_dispatch();
    let y = Tensor::<2>::from_dispatch(Dispatch::four_bit_linear(x, weight));
    let y = match bias.dims() {
        [0] => y,
        _ => y + bias.unsqueeze(),
    };
    reshape(y, shape)
}
