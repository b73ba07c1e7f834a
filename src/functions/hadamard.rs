use burn::{backend::Dispatch, tensor::Tensor};

use super::operand::assert_float;
use crate::ops::QatOps;

/// Applies the orthonormal Walsh-Hadamard transform to each block of `block` neighboring values of the
/// last dimension: `y = H x` with `H[i, j] = (-1)^popcount(i & j) / sqrt(block)` (Sylvester's order).
///
/// This is the rotation of BitNet v2 (H-BitLinear). It spreads an outlier over its block, so that 4-bit
/// activations have fewer values out of range. `H` is symmetric and orthonormal: the transform is its
/// own inverse, and the gradient is the transform of the gradient, `dL/dx = H dL/dy` (Eq. 8 of the paper).
///
/// Needs `block * log2(block)` additions instead of a matrix product. Computed in f32 for any type of the
/// values and rounded to it once, with the same bits on every backend. A NaN or infinity makes its whole
/// block non-finite, and so does a sum of `block` values beyond the largest f32.
///
/// Source: [BitNet v2](https://arxiv.org/abs/2504.18415).
///
/// # Shapes
///
/// - x: `[.., n]`, f32, f16 or bf16
/// - output: `[.., n]`, of the type of `x`
///
/// # Panics
///
/// If `block` is not a power of two or does not divide `n`, or the type is none of the above.
///
/// # Example
///
/// ```
/// use bitnet_burn::functions::hadamard_transform;
/// use burn::tensor::{Device, Tensor};
///
/// let x = Tensor::<2>::from_floats([[8.0, 0.0, 0.0, 0.0]], &Device::default());
/// let rotated = hadamard_transform(x, 4);
/// assert_eq!(rotated.clone().into_data().to_vec::<f32>().unwrap(), [4.0; 4]);
/// let back = hadamard_transform(rotated, 4);
/// assert_eq!(back.into_data().to_vec::<f32>().unwrap(), [8.0, 0.0, 0.0, 0.0]);
/// ```
#[track_caller]
pub fn hadamard_transform<const D: usize>(x: Tensor<D>, block: usize) -> Tensor<D> {
    assert_float("hadamard_transform", &x);
    assert!(
        block.is_power_of_two(),
        "hadamard_transform takes blocks of a power of two of values, got {block}"
    );
    let shape = x.dims();
    assert!(
        shape[D - 1].is_multiple_of(block),
        "block {block} does not divide the {} values of the last dimension of shape {shape:?}",
        shape[D - 1]
    );
    Tensor::from_dispatch(Dispatch::hadamard_transform(x.into_dispatch(), block))
}
