use bitnet_burn_kernels::Groups;
use burn::backend::{
    Autodiff, Backend, FloatDType, Shape, TensorMetadata,
    tensor::{FloatTensor, IntTensor},
};
use burn_autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};

use super::zeros_like;
use crate::ops::{QatOps, composed};

/// Gradients `dX = dY Q(W)^T`, `dW = Q(X)^T dY`, `db = sum dY`.
#[derive(Debug)]
struct BitLinear;

/// Tensors saved for backward, each only if the parent that needs it is tracked.
#[derive(Debug, Clone)]
struct Saved<B: Backend> {
    /// Codes and scales of the input, for the gradient of the weight.
    input: Option<(IntTensor<B>, FloatTensor<B>)>,
    /// The latent weight, which is quantized again for the gradient of the input.
    weight: Option<FloatTensor<B>>,
    weight_dtype: FloatDType,
    groups: Groups,
    d_input: usize,
}

impl<B: QatOps> Backward<B, 3> for BitLinear {
    type State = Saved<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let Saved {
            input,
            weight,
            weight_dtype,
            groups,
            d_input,
        } = ops.state;
        let [x_node, weight_node, bias_node] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        if let Some(node) = bias_node {
            let d_output = grad.shape()[1];
            let sum = B::float_sum_dim(grad.clone(), 0);
            grads.register::<B>(node.id, B::float_reshape(sum, Shape::new([d_output])));
        }
        if let (Some(node), Some((codes, scales))) = (weight_node, input) {
            let x = B::absmax_dequantize(codes, scales, d_input, grad.dtype().into());
            let product = B::float_matmul(B::float_transpose(x), grad.clone());
            grads.register::<B>(node.id, B::float_cast(product, weight_dtype));
        }
        if let (Some(node), Some(weight)) = (x_node, weight) {
            let quantized = composed::quantized_as::<B>(weight, groups, grad.dtype().into());
            let product = B::float_matmul(grad, B::float_transpose(quantized));
            grads.register::<B>(node.id, product);
        }
    }
}

/// Gradients without tokens, input features or output features: `dX = 0`, `dW = 0`, `db = sum dY`.
#[derive(Debug)]
struct EmptyBitLinear;

impl<B: QatOps> Backward<B, 3> for EmptyBitLinear {
    /// Zeros with the shapes and types of the input, the weight and the bias.
    type State = [FloatTensor<B>; 3];

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        let [x, weight, mut bias] = ops.state;
        // Not every backend sums along a dimension of a tensor without values.
        if grad.shape().num_elements() > 0 {
            bias = B::float_reshape(B::float_sum_dim(grad, 0), bias.shape());
        }
        for (node, gradient) in ops.parents.into_iter().zip([x, weight, bias]) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

/// Computes [`bit_linear`] for an empty product: the bias for each token, or zero.
fn empty_bit_linear<B: QatOps, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    let (x, x_node) = x.into_parts();
    let (weight, weight_node) = weight.into_parts();
    let (bias, bias_node) = bias.into_parts();
    let (tokens, d_output) = (x.shape()[0], weight.shape()[1]);
    let shape = Shape::new([tokens, d_output]);
    let zeros = B::float_zeros(shape.clone(), &x.device(), x.dtype().into());
    let y = match bias.shape().num_elements() * tokens {
        0 => zeros,
        _ => B::float_add(
            zeros,
            B::float_reshape(bias.clone(), Shape::new([1, d_output])),
        ),
    };
    let prepared = EmptyBitLinear
        .prepare::<C>([x_node, weight_node, bias_node])
        .compute_bound();
    match prepared.stateful() {
        OpsKind::Tracked(tracked) => {
            let state = [x, weight, bias].map(|operand| zeros_like::<B>(&operand));
            tracked.finish(state, y)
        }
        OpsKind::UnTracked(untracked) => untracked.finish(y),
    }
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
    let d_input = x.shape()[1];
    let (codes, scales) = B::absmax_quantize(x, max_code);
    let product = B::ternary_linear(codes.clone(), scales.clone(), weight.clone(), bias, groups);
    let prepared = BitLinear
        .prepare::<C>([x_node, weight_node, bias_node])
        .compute_bound();
    match prepared.stateful() {
        OpsKind::Tracked(tracked) => {
            let saved = Saved {
                input: weight_tracked.then_some((codes, scales)),
                weight_dtype: weight.dtype().into(),
                weight: x_tracked.then_some(weight),
                groups,
                d_input,
            };
            tracked.finish(saved, product)
        }
        OpsKind::UnTracked(untracked) => untracked.finish(product),
    }
}
