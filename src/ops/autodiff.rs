//! Gradients: of the fake quantisers straight-through, of the Hadamard transform its own.
//!
//! The forward value of a fake quantiser is the quantised value to the last bit; the backward
//! step is written here. The textbook form `w + (q - w).detach()` has neither property: its
//! rounding moves about 4 % of normally distributed weights by one unit in the last place.

use bitnet_burn_kernels::Groups;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, FloatDType, Shape,
    tensor::{FloatTensor, IntTensor},
};
use burn_autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, NodeGuard, Ops, OpsKind, unary},
};

use super::QatOps;

/// The identity estimator: `dL/dx = dL/dQ(x)`.
#[derive(Debug)]
struct IdentityStraightThrough;

impl<B: Backend> Backward<B, 1> for IdentityStraightThrough {
    type State = ();

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        unary::<B, _>(ops.parents, ops.node, grads, |grad| grad);
    }
}

/// `quantized` as a function of `input` whose gradient is the identity.
fn straight_through<B: Backend, C: CheckpointStrategy>(
    input: NodeGuard,
    quantized: FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    // Nothing is saved for the backward step, so there is nothing to recompute either.
    IdentityStraightThrough
        .prepare::<C>([input])
        .compute_bound()
        .stateless(quantized)
}

/// `dL/dx = H dL/dy`: `H` is symmetric.
#[derive(Debug)]
struct HadamardTransform;

impl<B: Backend + QatOps> Backward<B, 1> for HadamardTransform {
    /// The number of values in a block.
    type State = usize;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let block = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            B::hadamard_transform(grad, block)
        });
    }
}

impl<B: Backend + QatOps, C: CheckpointStrategy> QatOps for Autodiff<B, C> {
    fn ternary_fake_quant(
        weight: FloatTensor<Self>,
        groups: Groups,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (weight, node) = weight.into_parts();
        let (quantized, scales) = B::ternary_fake_quant(weight, groups);
        (
            straight_through::<B, C>(node, quantized),
            Self::from_inner(scales),
        )
    }

    fn absmax_fake_quant(
        x: FloatTensor<Self>,
        groups: Groups,
        max_code: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (x, node) = x.into_parts();
        let (quantized, scales) = B::absmax_fake_quant(x, groups, max_code);
        (
            straight_through::<B, C>(node, quantized),
            Self::from_inner(scales),
        )
    }

    fn ternary_pack(
        weight: FloatTensor<Self>,
        scales: FloatTensor<Self>,
        groups: Groups,
    ) -> IntTensor<Self> {
        B::ternary_pack(weight.into_primitive(), scales.into_primitive(), groups)
    }

    fn ternary_unpack(
        packed: IntTensor<Self>,
        scales: FloatTensor<Self>,
        groups: Groups,
        shape: Shape,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        let scales = scales.into_primitive();
        Self::from_inner(B::ternary_unpack(packed, scales, groups, shape, dtype))
    }

    fn hadamard_transform(x: FloatTensor<Self>, block: usize) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let output = B::hadamard_transform(x, block);
        // Nothing of the forward pass is needed, so there is nothing to recompute either.
        let prepared = HadamardTransform.prepare::<C>([node]).compute_bound();
        match prepared.stateful() {
            OpsKind::Tracked(tracked) => tracked.finish(block, output),
            OpsKind::UnTracked(untracked) => untracked.finish(output),
        }
    }
}
