use burn::backend::{
    Autodiff, Shape, TensorMetadata,
    tensor::{FloatTensor, IntTensor},
};
use burn_autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};

use bitnet_burn_kernels::Groups;

use crate::ops::{QatOps, composed::PackedRows};

/// Gradients `dX = dY W`, `db = sum dY`.
#[derive(Debug)]
struct PackedBitLinear;

impl<B: QatOps> Backward<B, 2> for PackedBitLinear {
    type State = PackedRows<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [x_node, bias_node] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        if let Some(node) = bias_node {
            let d_output = grad.shape()[1];
            let sum = B::float_sum_dim(grad.clone(), 0);
            grads.register::<B>(node.id, B::float_reshape(sum, Shape::new([d_output])));
        }
        if let Some(node) = x_node {
            grads.register::<B>(node.id, ops.state.input_gradient(grad));
        }
    }
}

pub(super) fn packed_bit_linear<B: QatOps, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    packed: IntTensor<B>,
    scales: FloatTensor<B>,
    bias: FloatTensor<Autodiff<B, C>>,
    groups: Groups,
    max_code: f32,
) -> FloatTensor<Autodiff<B, C>> {
    let (x, x_node) = x.into_parts();
    let (bias, bias_node) = bias.into_parts();
    let weight = PackedRows {
        packed: packed.clone(),
        scales: scales.clone(),
        groups,
        d_input: x.shape()[1],
    };
    let y = B::packed_bit_linear(x, packed, scales, bias, groups, max_code);
    let prepared = PackedBitLinear
        .prepare::<C>([x_node, bias_node])
        .compute_bound();
    match prepared.stateful() {
        OpsKind::Tracked(tracked) => tracked.finish(weight, y),
        OpsKind::UnTracked(untracked) => untracked.finish(y),
    }
}
