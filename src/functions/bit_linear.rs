use burn::{
    backend::{Dispatch, ops::FloatTensorOps},
    tensor::{DType, Shape, Tensor},
};

use super::operand::assert_float;
use crate::ops::{Groups, InputGradient, QatOps, QuantRange};

/// Computes `Y = Qx(X) Qw(W) + b` in one operation: [`absmax_fake_quant`](super::absmax_fake_quant) of
/// `bits` bits per token, [`ternary_fake_quant`](super::ternary_fake_quant) and the product of the two.
///
/// On Flex the product is one of integers, exact in any order of summation, and scaled once at the
/// end: `y = sum_k(code_k t_k) * (gamma / s) + b`. With the unit roundoff `u = 2^-24` of `f32`, it
/// differs from the separate operations by at most `(d_input + 5) u sum_k |Qx(x_k) Qw(w_k)|` to
/// first order. The separate operations round each quantized value (2), each product (1) and each of
/// `d_input` sums. This one rounds the two scales, their product and the result, and the sum above `2^24`.
/// Groups along the input features, and other devices, use the separate operations.
///
/// Under autodiff `dX = dY Qw(W)^T`, `dW = Qx(X)^T dY` and `db = sum dY` (straight-through
/// estimators). The codes of `X` are saved for backward, a quarter of its size, and nothing of `W`,
/// which is quantized again. For an empty batch the gradients are zero.
///
/// # Shapes
///
/// - x: `[.., d_input]`
/// - weight: `[d_input, d_output]`, f32, f16 or bf16; its gradient has the same type
/// - bias: `[d_output]`, of the type of `x`
/// - groups: of the weight
/// - output: `[.., d_output]`, of the type of `x`
///
/// # Panics
///
/// If shapes or types do not fit, `groups` does not cover the weight, or `bits` is not in 2..=8.
///
/// # Example
///
/// ```
/// use bitnet_burn::functions::{Groups, bit_linear};
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::default();
/// let x = Tensor::<2>::from_floats([[1.0, -2.0, 0.5]], &device);
/// let weight = Tensor::<2>::from_floats([[1.0], [-0.5], [0.0]], &device);
/// let y = bit_linear(x, weight, None, Groups::per_tensor(3), 8);
/// // Codes 64, -127 and 32 with a step of 2 / 127, times 1, -1 and 0 with a scale of 0.5.
/// let expected = (64.0 + 127.0) * 2.0 / 127.0 * 0.5;
/// assert!((y.into_scalar::<f32>() - expected).abs() < 1e-6);
/// ```
#[track_caller]
pub fn bit_linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    groups: Groups,
    bits: u8,
) -> Tensor<D> {
    bit_linear_with(x, weight, bias, groups, bits, InputGradient::Float)
}

/// Computes [`bit_linear`], with the gradient of its input in another precision.
#[track_caller]
pub(crate) fn bit_linear_with<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    groups: Groups,
    bits: u8,
    input_gradient: InputGradient,
) -> Tensor<D> {
    let [d_input, d_output] = weight.dims();
    assert_float("bit_linear", &x);
    // Latent weights may have another type than `x`.
    assert_float("bit_linear", &weight);
    assert_operands(&x, d_input, x.dtype(), "weight");
    groups.assert_cover(&weight.dims());
    let max_code = QuantRange::signed(bits).max;
    let mut shape = x.dims();
    let tokens = shape[..D - 1].iter().product();
    let bias = bias_or_none(&x, bias, d_output);
    let is_empty = tokens * d_input * d_output == 0;
    // Under autodiff an empty batch has gradients, which are zeros.
    if is_empty && !x.is_autodiff() {
        shape[D - 1] = d_output;
        return empty_sum(&x, shape, bias);
    }
    let x = reshape(x, [tokens, d_input]);
    let y = Tensor::<2>::from_dispatch(Dispatch::bit_linear(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        groups,
        max_code,
        input_gradient,
    ));
    shape[D - 1] = d_output;
    reshape(y, shape)
}

/// Reshapes a tensor, also one without values: `Tensor::reshape` reads a 0 as the length of the old
/// shape.
pub(crate) fn reshape<const D: usize, const E: usize>(
    tensor: Tensor<D>,
    shape: [usize; E],
) -> Tensor<E> {
    let reshaped = Dispatch::float_reshape(tensor.into_dispatch(), Shape::new(shape));
    Tensor::from_dispatch(reshaped)
}

/// Returns the output without tokens, input features or output features: the bias, or zero.
pub(super) fn empty_sum<const D: usize>(
    x: &Tensor<D>,
    shape: [usize; D],
    bias: Tensor<1>,
) -> Tensor<D> {
    let zeros = Tensor::zeros(shape, (&x.device(), x.dtype()));
    match bias.dims() {
        [0] => zeros,
        _ => zeros + bias.unsqueeze(),
    }
}

/// Returns the bias, or a tensor without values if there is none.
#[track_caller]
pub(super) fn bias_or_none<const D: usize>(
    x: &Tensor<D>,
    bias: Option<Tensor<1>>,
    d_output: usize,
) -> Tensor<1> {
    let Some(bias) = bias else {
        return Tensor::empty([0], (&x.device(), x.dtype()));
    };
    assert!(
        bias.dims() == [d_output] && bias.dtype() == x.dtype(),
        "a bias of {d_output} values of {:?} is expected, got {:?} of {:?}",
        x.dtype(),
        bias.dims(),
        bias.dtype()
    );
    bias
}

/// Panics unless the last dimension of `x` is `d_input` and its type is that of the other operand.
#[track_caller]
pub(super) fn assert_operands<const D: usize>(
    x: &Tensor<D>,
    d_input: usize,
    dtype: DType,
    name: &str,
) {
    assert!(
        x.dims()[D - 1] == d_input && x.dtype() == dtype,
        "the {name} takes {d_input} features of {dtype:?}, got x of shape {:?} and {:?}",
        x.dims(),
        x.dtype()
    );
}
