use burn::{
    backend::Dispatch,
    tensor::{Tensor, assert_shape},
};

use super::operand::assert_float;
use crate::ops::TransformerOps;

/// Rotates the pairs `(x[i], x[i + d_head / 2])` of each head by the angles of its position:
/// `y = x * cos + rotate_half(x) * sin` with `rotate_half([a, b]) = [-b, a]`.
///
/// The half-rotation order is that of Hugging Face's Llama family;
/// [`RotaryEmbedding`](crate::nn::RotaryEmbedding) holds the angles. The gradient of `x` is rotated by the
/// negative angles; the angles are constants. Heads in the memory layout of a projection,
/// `[batch, positions, heads, d_head]` with two dimensions swapped, are not copied first.
///
/// Source: [RoFormer](https://arxiv.org/abs/2104.09864).
///
/// # Shapes
///
/// - x, output: `[batch, heads, positions, d_head]`, f32, f16 or bf16
/// - cos, sin: `[positions, d_head / 2]`
///
/// # Panics
///
/// If the shapes differ from those above, or the type is none of the above.
#[track_caller]
pub fn rotary_embedding(x: Tensor<4>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<4> {
    assert_float("rotary_embedding", &x);
    let [_, _, positions, d_head] = x.dims();
    let half = d_head / 2;
    assert_shape!(x, [_, _, _, 2 * half]);
    assert_shape!(cos, [positions, half]);
    assert_shape!(sin, [positions, half]);
    if x.shape().num_elements() == 0 {
        return x;
    }
    let [cos, sin] = [cos, sin].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::rotate(x.into_dispatch(), cos, sin, false))
}
