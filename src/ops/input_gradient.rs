use core::fmt;

use serde::{Deserialize, Serialize};

/// Precision of the product `dX = dY Q(W)^T`, with which a layer of ternary weights passes the gradient of its output
/// to its input. The gradient of the weight is a product of floats in either.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputGradient {
    /// In floats.
    #[default]
    Float,
    /// `dX = Q(dY) Q(W)^T`, where `Q(dY)` is rounded to 8 bits with one absmax scale for each token, as activations
    /// are: a product of integers where the forward pass has one.
    ///
    /// The rounding, to the nearest code, makes the gradient an approximation: a value below half a step, 1/254 of the
    /// largest of its token, is zero.
    ///
    /// Source: SwitchBack, [Stable and low-precision training](https://arxiv.org/abs/2304.13013).
    Int8,
}

impl fmt::Display for InputGradient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float => "float gradients",
            Self::Int8 => "int8 gradients of inputs",
        })
    }
}
