use burn::{
    backend::Dispatch,
    tensor::{DType, Int, Tensor, assert_shape},
};

use super::operand::assert_float;
use crate::ops::{CrossEntropyOps, CrossEntropyTerms};

/// Computes the weighted cross-entropy of the logits `x W^T` of an output head, without ever holding all of them:
/// `sum_i w_i (lse_i - (1 - s) z_i[t_i] - s mean(z_i) + c lse_i^2)` with the logits `z_i = W x_i`, the targets `t_i`,
/// `lse_i = log sum exp(z_i)`, label smoothing `s` and z-loss `c`.
///
/// Logits of large vocabularies take more memory than the rest of a small model: 4 bytes x 49152 for each token, as
/// often as a chain of operations keeps them for backward. Here those of some rows at a time are in memory, and the
/// gradients `dx_i = w_i W^T dz_i` and `dW = sum_i w_i dz_i x_i^T` are computed with the loss, so that logits
/// are not computed twice. Without a gradient of `W` (a frozen head), only `dx` is. On Flex, rows of weight 0 are not
/// computed at all.
///
/// Source: [Liger Kernel](https://arxiv.org/abs/2410.10989), section 3.2.
///
/// # Shapes
///
/// - x: `[rows, d_model]`, f32, f16 or bf16
/// - weight: `[classes, d_model]`, of the type of `x`
/// - targets: `[rows]`, of `0..classes` where the weight is not 0
/// - row_weights: `[rows]`, f32; 0 leaves a row out; no gradient
/// - output: `[1]`, f32
///
/// # Panics
///
/// If the shapes or types differ from those above, or the weight has no rows. On Flex, also if a target is not in
/// `0..classes`.
///
/// # Example
///
/// ```
/// use bitnet_burn::functions::{CrossEntropyTerms, linear_cross_entropy};
/// use burn::tensor::{Device, Int, Tensor};
///
/// let device = Device::default();
/// let x = Tensor::<2>::ones([2, 4], &device);
/// let weight = Tensor::<2>::zeros([8, 4], &device);
/// let targets = Tensor::<1, Int>::from_ints([3, 7], &device);
/// let mean = Tensor::<1>::from_floats([0.5, 0.5], &device);
/// let loss = linear_cross_entropy(x, weight, targets, mean, CrossEntropyTerms::default());
/// assert!((loss.into_scalar::<f32>() - 8f32.ln()).abs() < 1e-6);
/// ```
#[track_caller]
pub fn linear_cross_entropy(
    x: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    row_weights: Tensor<1>,
    terms: CrossEntropyTerms,
) -> Tensor<1> {
    assert_float("linear_cross_entropy", &x);
    let ([rows, d_model], [classes, _]) = (x.dims(), weight.dims());
    assert_shape!(weight, [classes, d_model]);
    assert_shape!(targets, [rows]);
    assert_shape!(row_weights, [rows]);
    assert!(
        classes > 0,
        "a head of shape {:?} has no class",
        weight.dims()
    );
    assert!(
        weight.dtype() == x.dtype() && row_weights.dtype() == DType::F32,
        "x and the weight of a head have one type, and rows have weights in f32, got {:?}, {:?} and {:?}",
        x.dtype(),
        weight.dtype(),
        row_weights.dtype()
    );
    if rows * d_model == 0 {
        return (x.sum() + weight.sum()).mul_scalar(0.0).cast(DType::F32);
    }
    Tensor::from_dispatch(Dispatch::linear_cross_entropy(
        x.into_dispatch(),
        weight.into_dispatch(),
        targets.into_dispatch(),
        row_weights.into_dispatch(),
        terms,
    ))
}
