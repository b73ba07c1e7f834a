use burn::backend::{Flex, TensorMetadata, tensor::FloatTensor};

use super::{
    attention, gated_activation, rms_norm, rotate,
    values::{from_values, with_values},
};
use crate::ops::{GatedActivation, TransformerOps};

impl TransformerOps for Flex {
    fn rms_norm(x: FloatTensor<Self>, gamma: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self> {
        let values = with_values(&x, |x| {
            with_values(&gamma, |gamma| rms_norm::rms_norm(x, gamma, epsilon))
        });
        from_values(values, x.shape(), x.dtype())
    }

    fn rms_norm_gradient(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        grads: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (of_x, of_gamma) = with_values(&x, |x| {
            with_values(&gamma, |gamma| {
                with_values(&grads, |grads| rms_norm::gradient(x, gamma, grads, epsilon))
            })
        });
        (
            from_values(of_x, x.shape(), x.dtype()),
            from_values(of_gamma, gamma.shape(), gamma.dtype()),
        )
    }

    fn gated_activation(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        activation: GatedActivation,
    ) -> FloatTensor<Self> {
        let values = with_values(&gate, |gate| {
            with_values(&up, |up| {
                gated_activation::gated_activation(gate, up, activation)
            })
        });
        from_values(values, gate.shape(), gate.dtype())
    }

    fn gated_activation_gradient(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        grads: FloatTensor<Self>,
        activation: GatedActivation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (of_gate, of_up) = with_values(&gate, |gate| {
            with_values(&up, |up| {
                with_values(&grads, |grads| {
                    gated_activation::gradient(gate, up, grads, activation)
                })
            })
        });
        (
            from_values(of_gate, gate.shape(), gate.dtype()),
            from_values(of_up, up.shape(), up.dtype()),
        )
    }

    fn rotate(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        back: bool,
    ) -> FloatTensor<Self> {
        rotate::rotate(&x, &cos, &sin, back)
    }

    fn causal_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        attention::causal_attention([query, key, value])
    }

    fn causal_attention_gradient(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        grads: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        attention::gradient([query, key, value], grads).into()
    }
}
