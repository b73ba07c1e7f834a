use burn::backend::{Autodiff, TensorMetadata, tensor::FloatTensor};
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;

use super::operation::{operation, zeros_like};
use crate::ops::{GatedActivation, TransformerOps};

impl<B: TransformerOps, C: CheckpointStrategy> TransformerOps for Autodiff<B, C> {
    fn rms_norm(x: FloatTensor<Self>, gamma: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self> {
        let (x, x_node) = x.into_parts();
        let (gamma, gamma_node) = gamma.into_parts();
        let y = match x.shape().num_elements() {
            0 => x.clone(),
            _ => B::rms_norm(x.clone(), gamma.clone(), epsilon),
        };
        let save = || (x, gamma, epsilon);
        operation::<B, C, _, 2>([x_node, gamma_node], y, save, |saved, grad, _| {
            let (x, gamma, epsilon) = saved;
            match grad.shape().num_elements() {
                0 => [grad, zeros_like::<B>(&gamma)],
                _ => B::rms_norm_gradient(x, gamma, grad, epsilon).into(),
            }
            .map(Some)
        })
    }

    fn gated_activation(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        activation: GatedActivation,
    ) -> FloatTensor<Self> {
        let (gate, gate_node) = gate.into_parts();
        let (up, up_node) = up.into_parts();
        let y = B::gated_activation(gate.clone(), up.clone(), activation);
        let save = || (gate, up, activation);
        operation::<B, C, _, 2>([gate_node, up_node], y, save, |saved, grad, _| {
            let (gate, up, activation) = saved;
            let (of_gate, of_up) = B::gated_activation_gradient(gate, up, grad, activation);
            [of_gate, of_up].map(Some)
        })
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
