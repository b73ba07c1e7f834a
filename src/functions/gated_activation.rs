use burn::{backend::Dispatch, tensor::Tensor};

use super::operand::assert_float;
use crate::ops::{GatedActivation, TransformerOps};

/// Computes `y = activation(gate) * up` with squared ReLU or SiLU, as in a gated feed-forward block.
///
/// One pass over the memory, with its own gradient, which saves only `gate` and `up` for backward:
/// `dL/dgate = activation'(gate) up dL/dy` and `dL/dup = activation(gate) dL/dy`. The derivative is
/// `2 relu(x)` for squared ReLU and `s + x s (1 - s)`, `s = sigmoid(x)`, for SiLU.
///
/// Sources: [GLU variants](https://arxiv.org/abs/2002.05202), [Primer](https://arxiv.org/abs/2109.08668)
/// (squared ReLU).
///
/// # Shapes
///
/// - gate, up, output: the same shape, f32, f16 or bf16
///
/// # Panics
///
/// If the shapes or types differ, or the type is none of the above.
///
/// # Example
///
/// ```
/// use bitnet_burn::{functions::gated_activation, nn::GatedActivation};
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::default();
/// let gate = Tensor::<1>::from_floats([-1.0, 2.0, 3.0], &device);
/// let up = Tensor::from_floats([5.0, 5.0, -1.0], &device);
/// let y = gated_activation(gate, up, GatedActivation::SquaredRelu);
/// assert_eq!(y.into_data().to_vec::<f32>().unwrap(), [0.0, 20.0, -9.0]);
/// ```
#[track_caller]
pub fn gated_activation<const D: usize>(
    gate: Tensor<D>,
    up: Tensor<D>,
    activation: GatedActivation,
) -> Tensor<D> {
    assert_float("gated_activation", &gate);
    assert_eq!(gate.dims(), up.dims(), "gate and up have different shapes");
    assert_eq!(gate.dtype(), up.dtype(), "gate and up have different types");
    let (gate, up) = (gate.into_dispatch(), up.into_dispatch());
    Tensor::from_dispatch(Dispatch::gated_activation(gate, up, activation))
}
