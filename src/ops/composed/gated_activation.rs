//! Gated activation `y = activation(gate) * up` as Burn operations.

use burn::backend::{Backend, tensor::FloatTensor};

use crate::ops::GatedActivation;

/// Returns the activation of the gate, and its derivative.
fn activated<B: Backend>(
    gate: FloatTensor<B>,
    activation: GatedActivation,
) -> (FloatTensor<B>, FloatTensor<B>) {
    match activation {
        GatedActivation::SquaredRelu => {
            let relu = B::relu(gate);
            (
                B::float_mul(relu.clone(), relu.clone()),
                B::float_mul_scalar(relu, 2.0.into()),
            )
        }
        GatedActivation::Silu => {
            let sigmoid = B::sigmoid(gate.clone());
            let silu = B::float_mul(gate, sigmoid.clone());
            // s + g s (1 - s) = s + silu - silu s
            let product = B::float_mul(silu.clone(), sigmoid.clone());
            let sum = B::float_add(sigmoid, silu.clone());
            (silu, B::float_sub(sum, product))
        }
    }
}

pub(in crate::ops) fn gated_activation<B: Backend>(
    gate: FloatTensor<B>,
    up: FloatTensor<B>,
    activation: GatedActivation,
) -> FloatTensor<B> {
    B::float_mul(activated::<B>(gate, activation).0, up)
}

pub(in crate::ops) fn gated_activation_gradient<B: Backend>(
    gate: FloatTensor<B>,
    up: FloatTensor<B>,
    grads: FloatTensor<B>,
    activation: GatedActivation,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let (activated, derivative) = activated::<B>(gate, activation);
    let of_activated = B::float_mul(up, grads.clone());
    (
        B::float_mul(derivative, of_activated),
        B::float_mul(activated, grads),
    )
}
