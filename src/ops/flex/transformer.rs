use burn::backend::{Flex, tensor::FloatTensor};

use super::{
    attention, gated_activation, rms_norm, rotate,
    values::{Values, from_values_like},
};
use crate::ops::{GatedActivation, TransformerOps};

impl TransformerOps for Flex {
    fn rms_norm(x: FloatTensor<Self>, gamma: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self> {
        let values = rms_norm::rms_norm(&Values::of(&x), &Values::of(&gamma), epsilon);
        from_values_like(values, &x)
    }

    fn rms_norm_gradient(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        grads: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [x_values, gamma_values, grads] = [&x, &gamma, &grads].map(Values::of);
        let (of_x, of_gamma) = rms_norm::gradient(&x_values, &gamma_values, &grads, epsilon);
        (
            from_values_like(of_x, &x),
            from_values_like(of_gamma, &gamma),
        )
    }

    fn gated_activation(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        activation: GatedActivation,
    ) -> FloatTensor<Self> {
        let [values, up] = [&gate, &up].map(Values::of);
        let values = gated_activation::gated_activation(&values, &up, activation);
        from_values_like(values, &gate)
    }

    fn gated_activation_gradient(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        grads: FloatTensor<Self>,
        activation: GatedActivation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [gate_values, up_values, grads] = [&gate, &up, &grads].map(Values::of);
        let (of_gate, of_up) =
            gated_activation::gradient(&gate_values, &up_values, &grads, activation);
        (
            from_values_like(of_gate, &gate),
            from_values_like(of_up, &up),
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
