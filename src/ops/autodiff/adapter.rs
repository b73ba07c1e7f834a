use burn::backend::{Autodiff, Scalar, TensorMetadata, tensor::FloatTensor};
use burn_autodiff::{
    NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};

use super::operation::operation;
use crate::ops::{AdapterOps, composed};

impl<B: AdapterOps, C: CheckpointStrategy> AdapterOps for Autodiff<B, C> {
    fn frozen_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        if weight.is_tracked() {
            return trained_linear::<B, C>(x, weight);
        }
        let (x, node) = x.into_parts();
        let weight = weight.into_primitive();
        let y = B::frozen_linear(x, weight.clone());
        operation::<B, C, _, 1>(
            [node],
            y,
            || weight,
            |weight, grad, [tracked]| [tracked.then(|| B::frozen_linear_gradient(grad, weight))],
        )
    }

    fn low_rank_sum(
        y: FloatTensor<Self>,
        x: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scaling: f64,
    ) -> FloatTensor<Self> {
        let shape = y.shape();
        let (y, y_node) = y.into_parts();
        let (a, a_node) = a.into_parts();
        let (b, b_node) = b.into_parts();
        // What computes it again for backward may hold less than it: it is asked for there.
        let (input, x_node) = x.clone().into_parts();
        let hidden = composed::low_rank_input::<B>(input, a.clone(), scaling);
        let sum = B::addmm(composed::by_tokens::<B>(y), hidden.clone(), b.clone());
        let sum = B::float_reshape(sum, shape);
        let prepared = LowRankSum.prepare::<C>([y_node, x_node, a_node, b_node]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(mut tracked) => {
                let x = tracked.checkpoint(&x);
                let saved = Saved {
                    x,
                    hidden,
                    a,
                    b,
                    scaling,
                };
                tracked.finish(saved, sum)
            }
            OpsKind::UnTracked(untracked) => untracked.finish(sum),
        }
    }
}

/// Computes `Y = X W` as of a frozen weight, so that a forward pass without gradients has the same bits; `dX = dY W^T`
/// and `dW = X^T dY` are those of Burn's product.
fn trained_linear<B: AdapterOps, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    let (x, x_node) = x.into_parts();
    let (weight, weight_node) = weight.into_parts();
    let y = B::frozen_linear(x.clone(), weight.clone());
    let nodes = [x_node, weight_node];
    operation::<B, C, _, 2>(
        nodes,
        y,
        || [x, weight],
        |[x, weight], grad, tracked| {
            let of_weight = tracked[1].then(|| {
                let x = B::float_swap_dims(composed::by_tokens::<B>(x), 0, 1);
                let product = composed::product::<B>(x, composed::by_tokens::<B>(grad.clone()));
                B::float_cast(product, weight.dtype().into())
            });
            let of_x =
                tracked[0].then(|| composed::linear::<B>(grad, B::float_swap_dims(weight, 0, 1)));
            [of_x, of_weight]
        },
    )
}

/// Backward step of [`AdapterOps::low_rank_sum`].
#[derive(Debug)]
struct LowRankSum;

/// Tensors saved for backward.
#[derive(Debug, Clone)]
struct Saved<T> {
    x: NodeId,
    /// `s X A`, `[tokens, rank]`.
    hidden: T,
    a: T,
    b: T,
    scaling: f64,
}

impl<B: AdapterOps> Backward<B, 4> for LowRankSum {
    type State = Saved<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let Saved {
            x,
            hidden,
            a,
            b,
            scaling,
        } = ops.state;
        let x: FloatTensor<B> = checkpointer.retrieve_node_output(x);
        let grad = grads.consume::<B>(&ops.node);
        let matrix = composed::by_tokens::<B>(grad.clone());
        let [of_y, of_x, of_a, of_b] = ops.parents;
        if let Some(node) = of_y {
            grads.register::<B>(node.id, grad);
        }
        if let Some(node) = of_b {
            let of_b = B::float_matmul(B::float_swap_dims(hidden, 0, 1), matrix.clone());
            grads.register::<B>(node.id, of_b);
        }
        if of_x.is_none() && of_a.is_none() {
            return;
        }
        let of_hidden = B::float_matmul(matrix, B::float_swap_dims(b, 0, 1));
        let of_hidden = B::float_mul_scalar(of_hidden, Scalar::from(scaling));
        let shape = x.shape();
        if let Some(node) = of_a {
            let x = B::float_swap_dims(composed::by_tokens::<B>(x), 0, 1);
            grads.register::<B>(node.id, B::float_matmul(x, of_hidden.clone()));
        }
        if let Some(node) = of_x {
            let of_x = B::float_matmul(of_hidden, B::float_swap_dims(a, 0, 1));
            grads.register::<B>(node.id, B::float_reshape(of_x, shape));
        }
    }
}
