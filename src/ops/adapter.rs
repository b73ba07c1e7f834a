use burn::backend::{Backend, TensorMetadata, backend_extension, tensor::FloatTensor};

use super::composed;

/// Operations of adapters beside frozen weights, on backend primitives.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cube"),
    Autodiff,
    Fusion: cfg(all(feature = "fusion", feature = "cube")),
)]
pub trait AdapterOps: Backend {
    /// Computes `Y = X W` of `x` `[.., d_input]` with a weight `[d_input, d_output]`, whose type may be another than
    /// that of `x`.
    ///
    /// Under autodiff `dX = dY W^T`, and `x` is saved for backward only if the weight has a gradient.
    #[fusion(default)]
    fn frozen_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::linear::<Self>(x, weight)
    }

    /// Returns the gradient `dX = dY W^T` of [`frozen_linear`](AdapterOps::frozen_linear). Not differentiable.
    #[fusion(default)]
    fn frozen_linear_gradient(
        grads: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let weight = Self::float_swap_dims(weight, 0, 1);
        composed::linear::<Self>(grads, weight)
    }

    /// Computes `Y + A B` of matrices.
    #[fusion(default)]
    fn addmm(
        y: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::float_add(y, Self::float_matmul(a, b))
    }

    /// Computes `Y + s (X A) B` of `y` `[.., d_output]` and `x` `[.., d_input]`, with the factors `a`
    /// `[d_input, rank]` and `b` `[rank, d_output]`.
    ///
    /// Under autodiff `x` and the `rank` values of each token are saved for backward.
    #[fusion(default)]
    fn low_rank_sum(
        y: FloatTensor<Self>,
        x: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scaling: f64,
    ) -> FloatTensor<Self> {
        let shape = y.shape();
        let hidden = composed::low_rank_input::<Self>(x, a, scaling);
        let y = Self::addmm(composed::by_tokens::<Self>(y), hidden, b);
        Self::float_reshape(y, shape)
    }
}
