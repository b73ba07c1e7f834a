use burn::backend::{Autodiff, AutodiffBackend, TensorMetadata, tensor::FloatTensor};
use burn_autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind, unary},
};

use super::zeros_like;
use crate::ops::{GatedActivation, TransformerOps};

/// Registers the gradients of an operation with its tracked inputs.
fn register<B: TransformerOps, S, const N: usize>(
    ops: Ops<S, N>,
    grads: &mut Gradients,
    gradients: impl FnOnce(S, FloatTensor<B>) -> [FloatTensor<B>; N],
) {
    let grad = grads.consume::<B>(&ops.node);
    for (node, gradient) in ops.parents.into_iter().zip(gradients(ops.state, grad)) {
        if let Some(node) = node {
            grads.register::<B>(node.id, gradient);
        }
    }
}

#[derive(Debug)]
struct RmsNorm;

impl<B: TransformerOps> Backward<B, 2> for RmsNorm {
    /// The tensors `x` and `gamma`, and `epsilon`.
    type State = (FloatTensor<B>, FloatTensor<B>, f32);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        register::<B, _, 2>(ops, grads, |(x, gamma, epsilon), grad| {
            match grad.shape().num_elements() {
                0 => [grad, zeros_like::<B>(&gamma)],
                _ => B::rms_norm_gradient(x, gamma, grad, epsilon).into(),
            }
        });
    }
}

#[derive(Debug)]
struct GatedActivationProduct;

impl<B: TransformerOps> Backward<B, 2> for GatedActivationProduct {
    /// The tensors `gate` and `up`, and the activation.
    type State = (FloatTensor<B>, FloatTensor<B>, GatedActivation);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        register::<B, _, 2>(ops, grads, |(gate, up, activation), grad| {
            B::gated_activation_gradient(gate, up, grad, activation).into()
        });
    }
}

#[derive(Debug)]
struct Rotate;

impl<B: TransformerOps> Backward<B, 1> for Rotate {
    /// Cosines, sines, and `true` for the inverse rotation.
    type State = (FloatTensor<B>, FloatTensor<B>, bool);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let (cos, sin, back) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            B::rotate(grad, cos, sin, !back)
        });
    }
}

#[derive(Debug)]
struct CausalAttention;

impl<B: TransformerOps> Backward<B, 3> for CausalAttention {
    type State = [FloatTensor<B>; 3];

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        register::<B, _, 3>(ops, grads, |[query, key, value], grad| {
            match grad.shape().num_elements() {
                0 => [grad, zeros_like::<B>(&key), zeros_like::<B>(&value)],
                _ => B::causal_attention_gradient(query, key, value, grad).into(),
            }
        });
    }
}

impl<B: TransformerOps, C: CheckpointStrategy> TransformerOps for Autodiff<B, C> {
    fn rms_norm(x: FloatTensor<Self>, gamma: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self> {
        let (x, x_node) = x.into_parts();
        let (gamma, gamma_node) = gamma.into_parts();
        let y = match x.shape().num_elements() {
            0 => x.clone(),
            _ => B::rms_norm(x.clone(), gamma.clone(), epsilon),
        };
        let prepared = RmsNorm.prepare::<C>([x_node, gamma_node]).compute_bound();
        match prepared.stateful() {
            OpsKind::Tracked(tracked) => tracked.finish((x, gamma, epsilon), y),
            OpsKind::UnTracked(untracked) => untracked.finish(y),
        }
    }

    fn rms_norm_gradient(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        grads: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [x, gamma, grads] = [x, gamma, grads].map(|t| t.into_primitive());
        let (of_x, of_gamma) = B::rms_norm_gradient(x, gamma, grads, epsilon);
        (Self::from_inner(of_x), Self::from_inner(of_gamma))
    }

    fn gated_activation(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        activation: GatedActivation,
    ) -> FloatTensor<Self> {
        let (gate, gate_node) = gate.into_parts();
        let (up, up_node) = up.into_parts();
        let y = B::gated_activation(gate.clone(), up.clone(), activation);
        let prepared = GatedActivationProduct
            .prepare::<C>([gate_node, up_node])
            .compute_bound();
        match prepared.stateful() {
            OpsKind::Tracked(tracked) => tracked.finish((gate, up, activation), y),
            OpsKind::UnTracked(untracked) => untracked.finish(y),
        }
    }

    fn gated_activation_gradient(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        grads: FloatTensor<Self>,
        activation: GatedActivation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [gate, up, grads] = [gate, up, grads].map(|t| t.into_primitive());
        let (of_gate, of_up) = B::gated_activation_gradient(gate, up, grads, activation);
        (Self::from_inner(of_gate), Self::from_inner(of_up))
    }

    fn rotate(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        back: bool,
    ) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
        let y = B::rotate(x, cos.clone(), sin.clone(), back);
        match Rotate.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(tracked) => tracked.finish((cos, sin, back), y),
            OpsKind::UnTracked(untracked) => untracked.finish(y),
        }
    }

    fn causal_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (query, query_node) = query.into_parts();
        let (key, key_node) = key.into_parts();
        let (value, value_node) = value.into_parts();
        let y = match query.shape().num_elements() {
            0 => query.clone(),
            _ => B::causal_attention(query.clone(), key.clone(), value.clone()),
        };
        let prepared = CausalAttention
            .prepare::<C>([query_node, key_node, value_node])
            .compute_bound();
        match prepared.stateful() {
            OpsKind::Tracked(tracked) => tracked.finish([query, key, value], y),
            OpsKind::UnTracked(untracked) => untracked.finish(y),
        }
    }

    fn causal_attention_gradient(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        grads: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [query, key, value, grads] = [query, key, value, grads].map(|t| t.into_primitive());
        let (q, k, v) = B::causal_attention_gradient(query, key, value, grads);
        (
            Self::from_inner(q),
            Self::from_inner(k),
            Self::from_inner(v),
        )
    }
}
