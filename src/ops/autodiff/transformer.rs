use burn::backend::{Autodiff, TensorMetadata, tensor::FloatTensor};
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;

use super::operation::{operation, recomputed, zeros_like};
use crate::ops::{GatedActivation, TransformerOps};

impl<B: TransformerOps, C: CheckpointStrategy> TransformerOps for Autodiff<B, C> {
    fn rms_norm(x: FloatTensor<Self>, gamma: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self> {
        let [values, of_gamma] = [&x, &gamma].map(|tensor| tensor.clone().into_primitive());
        let y = normalized::<B>(values.clone(), of_gamma.clone(), epsilon);
        if gamma.is_tracked() {
            let forward: fn([_; 2], &_) -> _ =
                |[x, gamma], epsilon| normalized::<B>(x, gamma, *epsilon);
            let save = || (values, of_gamma, epsilon);
            return recomputed::<B, C, _, _, 2>(
                [x, gamma],
                y,
                forward,
                epsilon,
                save,
                |(x, gamma, epsilon), grad, _| {
                    norm_gradients::<B>(x, gamma, grad, epsilon).map(Some)
                },
            );
        }
        let forward: fn([_; 1], &(_, _)) -> _ = |[x], (gamma, epsilon): &(FloatTensor<B>, f32)| {
            normalized::<B>(x, gamma.clone(), *epsilon)
        };
        let settings = (of_gamma.clone(), epsilon);
        let save = || (values, of_gamma, epsilon);
        recomputed::<B, C, _, _, 1>(
            [x],
            y,
            forward,
            settings,
            save,
            |(x, gamma, epsilon), grad, _| {
                let [of_x, _] = norm_gradients::<B>(x, gamma, grad, epsilon);
                [Some(of_x)]
            },
        )
    }

    fn gated_activation(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        activation: GatedActivation,
    ) -> FloatTensor<Self> {
        let [of_gate, of_up] = [&gate, &up].map(|tensor| tensor.clone().into_primitive());
        let y = B::gated_activation(of_gate.clone(), of_up.clone(), activation);
        let forward: fn([_; 2], &_) -> _ =
            |[gate, up], activation| B::gated_activation(gate, up, *activation);
        let save = || (of_gate, of_up, activation);
        recomputed::<B, C, _, _, 2>(
            [gate, up],
            y,
            forward,
            activation,
            save,
            |(gate, up, activation), grad, _| {
                let (of_gate, of_up) = B::gated_activation_gradient(gate, up, grad, activation);
                [of_gate, of_up].map(Some)
            },
        )
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
        let save = || (cos, sin, back);
        operation::<B, C, _, 1>([node], y, save, |(cos, sin, back), grad, [tracked]| {
            [tracked.then(|| B::rotate(grad, cos, sin, !back))]
        })
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
        let nodes = [query_node, key_node, value_node];
        let save = || [query, key, value];
        operation::<B, C, _, 3>(nodes, y, save, |[query, key, value], grad, _| {
            match grad.shape().num_elements() {
                0 => [grad, zeros_like::<B>(&key), zeros_like::<B>(&value)],
                _ => B::causal_attention_gradient(query, key, value, grad).into(),
            }
            .map(Some)
        })
    }
}

/// Applies a norm, also to no values.
fn normalized<B: TransformerOps>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    epsilon: f32,
) -> FloatTensor<B> {
    match x.shape().num_elements() {
        0 => x,
        _ => B::rms_norm(x, gamma, epsilon),
    }
}

/// Returns the gradients of the input of a norm and of its weight.
fn norm_gradients<B: TransformerOps>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    grads: FloatTensor<B>,
    epsilon: f32,
) -> [FloatTensor<B>; 2] {
    match grads.shape().num_elements() {
        0 => [grads, zeros_like::<B>(&gamma)],
        _ => B::rms_norm_gradient(x, gamma, grads, epsilon).into(),
    }
}
