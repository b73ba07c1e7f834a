use burn::backend::{Autodiff, Backend, FloatDType, Shape, TensorMetadata, tensor::FloatTensor};
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;

use super::operation::{operation, zeros_like};
use crate::ops::{AbsmaxCodes, Groups, InputGradient, PackedTernary, QatOps, Statistic, composed};

/// Tensors saved for backward, each only if the parent that needs it is tracked.
#[derive(Debug, Clone)]
struct Saved<B: Backend> {
    /// Codes of the input, for the gradient of the weight.
    input: Option<AbsmaxCodes<B>>,
    /// The latent weight, which is quantized again for the gradient of the input.
    weight: Option<FloatTensor<B>>,
    weight_dtype: FloatDType,
    groups: Groups,
    input_gradient: InputGradient,
}

/// Computes `db = sum dY`.
fn bias_gradient<B: Backend>(grad: &FloatTensor<B>) -> FloatTensor<B> {
    let d_output = grad.shape()[1];
    B::float_reshape(B::float_sum_dim(grad.clone(), 0), Shape::new([d_output]))
}

/// Largest code of a gradient of 8 bits.
const MAX_GRADIENT_CODE: f32 = 127.0;

/// Lower bound of the largest gradient, which divides all.
const MIN_GRADIENT: f32 = 1e-30;

/// Computes `dX = Q(dY) Q(W)^T`. The rows of `W` are input features, the outputs of this product: packed as they are, they
/// are those of a packed linear layer.
///
/// Gradients are divided by the largest before: scales of tokens have a lower bound of 1e-5, below which gradients of a mean
/// over tokens often are.
fn int8_input_gradient<B: QatOps>(
    weight: FloatTensor<B>,
    groups: Groups,
    grad: FloatTensor<B>,
) -> FloatTensor<B> {
    let no_bias = B::float_zeros(Shape::new([0]), &grad.device(), grad.dtype().into());
    // Codes and scale of any latent type are those of the forward pass, in f32.
    let weight = B::float_cast(weight, FloatDType::F32);
    let scales = B::group_statistic(weight.clone(), groups, Statistic::AbsMean);
    let words = B::ternary_pack(weight, scales.clone(), groups);
    let largest = B::float_max_abs(B::float_cast(grad.clone(), FloatDType::F32));
    let largest = B::float_clamp_min(largest, MIN_GRADIENT.into());
    let largest = B::float_reshape(largest, Shape::new([1, 1]));
    let packed = PackedTernary {
        words,
        scales: B::float_mul(scales, largest.clone()),
        groups,
    };
    let relative = B::float_div(B::float_cast(grad, FloatDType::F32), largest);
    B::packed_linear(
        B::absmax_quantize(relative, MAX_GRADIENT_CODE),
        packed,
        no_bias,
    )
}

/// Computes `dX = dY Q(W)^T`, `dW = Q(X)^T dY`, `db = sum dY`.
fn gradients<B: QatOps>(
    saved: Saved<B>,
    grad: FloatTensor<B>,
    [_, _, bias]: [bool; 3],
) -> [Option<FloatTensor<B>>; 3] {
    let dtype = grad.dtype().into();
    let of_bias = bias.then(|| bias_gradient::<B>(&grad));
    let of_weight = saved.input.map(|codes| {
        let x = B::absmax_dequantize(codes, dtype);
        let product = B::float_matmul(B::float_transpose(x), grad.clone());
        B::float_cast(product, saved.weight_dtype)
    });
    let of_x = saved.weight.map(|weight| match saved.input_gradient {
        InputGradient::Float => {
            let quantized = composed::quantized_as::<B>(weight, saved.groups, dtype);
            B::float_matmul(grad, B::float_transpose(quantized))
        }
        InputGradient::Int8 => int8_input_gradient::<B>(weight, saved.groups, grad),
    });
    [of_x, of_weight, of_bias]
}

pub(super) fn bit_linear<B: QatOps, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
    groups: Groups,
    max_code: f32,
    input_gradient: InputGradient,
) -> FloatTensor<Autodiff<B, C>> {
    let num_elements = |tensor: &FloatTensor<Autodiff<B, C>>| tensor.shape().num_elements();
    if num_elements(&x) * num_elements(&weight) == 0 {
        return empty_bit_linear::<B, C>(x, weight, bias);
    }
    let (x_tracked, weight_tracked) = (x.is_tracked(), weight.is_tracked());
    let (x, x_node) = x.into_parts();
    let (weight, weight_node) = weight.into_parts();
    let (bias, bias_node) = bias.into_parts();
    let codes = B::absmax_quantize(x, max_code);
    let y = B::ternary_linear(codes.clone(), weight.clone(), bias, groups);
    let save = || Saved::<B> {
        input: weight_tracked.then_some(codes),
        weight_dtype: weight.dtype().into(),
        weight: x_tracked.then_some(weight),
        groups,
        input_gradient,
    };
    operation::<B, C, _, 3>([x_node, weight_node, bias_node], y, save, gradients::<B>)
}

/// Computes [`bit_linear`] for an empty product: the bias for each token, or zero. The gradients are
/// `dX = 0`, `dW = 0`, `db = sum dY`.
fn empty_bit_linear<B: QatOps, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    let (x, x_node) = x.into_parts();
    let (weight, weight_node) = weight.into_parts();
    let (bias, bias_node) = bias.into_parts();
    let shape = Shape::new([x.shape()[0], weight.shape()[1]]);
    let is_empty = shape.num_elements() == 0;
    let zeros = B::float_zeros(shape, &x.device(), x.dtype().into());
    let y = match is_empty {
        true => zeros,
        false => composed::biased::<B>(zeros, bias.clone()),
    };
    let save = || [x, weight, bias].map(|operand| zeros_like::<B>(&operand));
    operation::<B, C, _, 3>(
        [x_node, weight_node, bias_node],
        y,
        save,
        |zeros, grad, _| {
            let [x, weight, mut bias] = zeros;
            // Not every backend sums along a dimension of a tensor without values.
            if grad.shape().num_elements() > 0 {
                bias = B::float_reshape(B::float_sum_dim(grad, 0), bias.shape());
            }
            [x, weight, bias].map(Some)
        },
    )
}

/// Computes the linear layer of a packed weight, with `dX = dY W`, `db = sum dY`.
pub(super) fn packed_bit_linear<B: QatOps, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    weight: PackedTernary<B>,
    bias: FloatTensor<Autodiff<B, C>>,
    max_code: f32,
) -> FloatTensor<Autodiff<B, C>> {
    let (x, x_node) = x.into_parts();
    let (bias, bias_node) = bias.into_parts();
    let d_input = x.shape()[1];
    let y = B::packed_bit_linear(x, weight.clone(), bias, max_code);
    let save = || composed::PackedRows::new(weight, d_input);
    operation::<B, C, _, 2>([x_node, bias_node], y, save, |weight, grad, [x, bias]| {
        let of_bias = bias.then(|| bias_gradient::<B>(&grad));
        [x.then(|| weight.input_gradient(grad)), of_bias]
    })
}
