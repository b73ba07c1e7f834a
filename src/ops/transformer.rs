use burn::backend::{Backend, backend_extension, tensor::FloatTensor};

use super::{GatedActivation, composed};

/// What stands between the projections of a transformer block, on backend primitives.
///
/// Burn has each of these as a chain of operations, which keeps an intermediate result of every link
/// for the gradients and reads and writes the memory at every link. Here each is one operation with a
/// gradient of its own, which keeps its inputs alone. Values are of one type; sums are in `f32`.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cube"),
    Autodiff,
    Fusion: cfg(all(feature = "fusion", feature = "cube")),
)]
pub trait TransformerOps: Backend {
    /// `y = x / sqrt(mean(x^2) + epsilon) * gamma` over the last dimension.
    #[fusion(default)]
    fn rms_norm(x: FloatTensor<Self>, gamma: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self> {
        composed::rms_norm::<Self>(x, gamma, epsilon)
    }

    /// The gradients of `x` and `gamma`, given that of `y`. It has no gradient of its own.
    #[fusion(default)]
    fn rms_norm_gradient(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        grads: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::rms_norm_gradient::<Self>(x, gamma, grads, epsilon)
    }

    /// `y = activation(gate) * up`.
    #[fusion(default)]
    fn gated_activation(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        activation: GatedActivation,
    ) -> FloatTensor<Self> {
        composed::gated_activation::<Self>(gate, up, activation)
    }

    /// The gradients of `gate` and `up`, given that of `y`. It has no gradient of its own.
    #[fusion(default)]
    fn gated_activation_gradient(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        grads: FloatTensor<Self>,
        activation: GatedActivation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::gated_activation_gradient::<Self>(gate, up, grads, activation)
    }

    /// Turns the pairs `(x[i], x[i + d_head / 2])` of `[batch, heads, positions, d_head]` by the angles
    /// whose cosines and sines are given, `[positions, d_head / 2]`: forward, or back.
    ///
    /// Under autodiff the gradient of `x` is the gradient turned the other way; the others are constants.
    #[fusion(default)]
    fn rotate(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        back: bool,
    ) -> FloatTensor<Self> {
        composed::rotate::<Self>(x, cos, sin, back)
    }

    /// `y = softmax(q k^T / sqrt(d_head)) v`, where the queries are those of the last of the positions of
    /// the keys, and none looks at what comes after it.
    ///
    /// `q` and `y` are `[batch, heads, positions, d_head]`, `k` and `v` `[batch, key_heads, length, d_head]`:
    /// `heads / key_heads` neighbours share a head of the keys.
    #[fusion(default)]
    fn causal_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        composed::causal_attention::<Self>(query, key, value)
    }

    /// The gradients of `q`, `k` and `v`, given that of `y`. It has no gradient of its own.
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
