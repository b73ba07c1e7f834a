use burn::backend::{Autodiff, Backend, FloatDType, Shape, TensorMetadata, tensor::FloatTensor};
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;

use super::operation::{operation, zeros_like};
use crate::ops::{AbsmaxCodes, Groups, PackedTernary, QatOps, composed};

/// Tensors saved for backward, each only if the parent that needs it is tracked.
#[derive(Debug, Clone)]
struct Saved<B: Backend> {
    /// Codes of the input, for the gradient of the weight.
    input: Option<AbsmaxCodes<B>>,
    /// The latent weight, which is quantized again for the gradient of the input.
    weight: Option<FloatTensor<B>>,
    weight_dtype: FloatDType,
    groups: Groups,
}

/// Computes `db = sum dY`.
fn bias_gradient<B: Backend>(grad: &FloatTensor<B>) -> FloatTensor<B> {
    let d_output = grad.shape()[1];
    B::float_reshape(B::float_sum_dim(grad.clone(), 0), Shape::new([d_output]))
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
    let of_x = saved.weight.map(|weight| {
        let quantized = composed::quantized_as::<B>(weight, saved.groups, dtype);
        B::float_matmul(grad, B::float_transpose(quantized))
    });
    [of_x, of_weight, of_bias]
}

pub(super) fn bit_linear<B: QatOps, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
    groups: Groups,
    max_code: f32,
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
