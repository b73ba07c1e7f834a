use burn::backend::{
    Backend, backend_extension,
    tensor::{FloatTensor, IntTensor},
};

use super::composed;

/// Terms of a cross-entropy beside that of the target.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CrossEntropyTerms {
    /// Share of the target distribution that is spread over all classes.
    pub label_smoothing: f32,
    /// Weight of the squared log of the normalizer.
    pub z_loss: f32,
}

/// The output head of a language model and its loss, on backend primitives.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cube"),
    Autodiff,
    Fusion: cfg(all(feature = "fusion", feature = "cube")),
)]
pub trait CrossEntropyOps: Backend {
    /// Computes the sum over rows of `row_weights[i] * cross_entropy(x[i] W^T, targets[i])`, `[1]` in `f32`, with `x`
    /// `[rows, d_model]` and `W` `[classes, d_model]`. The logits of some rows at a time are in memory. A row of weight
    /// 0 has no effect.
    ///
    /// Under autodiff the gradients of `x` and `W` are computed with it, and saved for backward.
    #[fusion(default)]
    fn linear_cross_entropy(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        row_weights: FloatTensor<Self>,
        terms: CrossEntropyTerms,
    ) -> FloatTensor<Self> {
        composed::linear_cross_entropy::<Self>(x, weight, targets, row_weights, terms)
    }

    /// Returns the sum of [`linear_cross_entropy`](Self::linear_cross_entropy), its gradient of `x`, and that of `W`
    /// if it is asked for, else an empty tensor.
    #[fusion(default)]
    fn linear_cross_entropy_gradients(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        row_weights: FloatTensor<Self>,
        terms: CrossEntropyTerms,
        of_weight: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        composed::linear_cross_entropy_gradients::<Self>(
            x,
            weight,
            targets,
            row_weights,
            terms,
            of_weight,
        )
    }
}
