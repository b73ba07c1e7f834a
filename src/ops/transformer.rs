use burn::backend::{Backend, backend_extension, tensor::FloatTensor};

use super::{GatedActivation, composed};

/// Operations between the projections of a transformer block, on backend primitives.
///
/// In Burn each of these is a chain of operations, which saves the intermediate result of every step for
/// backward, and reads and writes the memory at every step. Here each is one operation with its own
/// gradient, which saves only its inputs. Values have one type; sums are in `f32`.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cube"),
    Autodiff,
    Fusion: cfg(all(feature = "fusion", feature = "cube")),
)]
pub trait TransformerOps: Backend {
    /// Computes `y = x / sqrt(mean(x^2) + epsilon) * gamma` over the last dimension.
    #[fusion(default)]
    fn rms_norm(x: FloatTensor<Self>, gamma: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self> {
        composed::rms_norm::<Self>(x, gamma, epsilon)
    }

    /// Returns the gradients of `x` and `gamma`, given that of `y`.
    #[fusion(default)]
    fn rms_norm_gradient(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        grads: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::rms_norm_gradient::<Self>(x, gamma, grads, epsilon)
    }

    /// Computes `y = activation(gate) * up`.
    #[fusion(default)]
    fn gated_activation(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        activation: GatedActivation,
    ) -> FloatTensor<Self> {
        composed::gated_activation::<Self>(gate, up, activation)
    }

    /// Returns the gradients of `gate` and `up`, given that of `y`.
    #[fusion(default)]
    fn gated_activation_gradient(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        grads: FloatTensor<Self>,
        activation: GatedActivation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::gated_activation_gradient::<Self>(gate, up, grads, activation)
    }

    /// Rotates the pairs `(x[i], x[i + d_head / 2])` of `[batch, heads, positions, d_head]` by the angles of
    /// the given cosines and sines, `[positions, d_head / 2]`, or by their negatives.
    ///
    /// Under autodiff the gradient of `x` is rotated in the opposite direction; the others are constants.
    #[fusion(default)]
    fn rotate(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        back: bool,
    ) -> FloatTensor<Self> {
        composed::rotate::<Self>(x, cos, sin, back)
    }

    /// Computes `y = softmax(q k^T / sqrt(d_head)) v` with later positions masked. The queries are those of
    /// the last positions of the keys.
    ///
    /// `q` and `y` are `[batch, heads, positions, d_head]`, `k` and `v` `[batch, key_heads, length, d_head]`:
    /// `heads / key_heads` neighboring query heads share a key head.
    #[fusion(default)]
    fn causal_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        composed::causal_attention::<Self>(query, key, value)
    }

    /// Returns the gradients of `q`, `k` and `v`, given that of `y`.
    #[fusion(default)]
    fn causal_attention_gradient(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        grads: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        composed::causal_attention_gradient::<Self>(query, key, value, grads)
    }
}
