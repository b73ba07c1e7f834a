use burn::{
    backend::Dispatch,
    tensor::{Tensor, assert_shape},
};

use super::operand::assert_float;
use crate::ops::TransformerOps;

/// Applies causal attention: `y = softmax(q k^T / sqrt(d_head)) v`, with later positions masked.
///
/// The queries are those of the last `positions` of the `length` positions of the keys, as with a
/// key-value cache. `heads / key_heads` neighboring query heads share a key head (grouped-query attention).
///
/// One operation with its own gradient, which saves only `q`, `k` and `v` for backward and recomputes the
/// softmax. A chain of operations saves `[heads, positions, length]` scores several times. On Flex a block
/// of queries stays in the CPU cache, and masked scores are not computed. The output has the memory layout
/// `[batch, positions, heads, d_head]`, so that its projection needs no copy.
///
/// With `P` the softmax and `dP = dY V^T`: `dS = P (dP - sum P dP)` over each row,
/// `dQ = dS K / sqrt(d_head)`, `dK = dS^T Q / sqrt(d_head)`, `dV = P^T dY`.
///
/// A value that is not finite may also affect earlier outputs of its head, as in a chain of operations: its
/// weight there is zero, and zero times it is NaN.
///
/// Burn's own `attention` has no such gradient: under autodiff it is a chain of operations.
///
/// Source: [FlashAttention](https://arxiv.org/abs/2205.14135) (the recomputation).
///
/// # Shapes
///
/// - query, output: `[batch, heads, positions, d_head]`, f32, f16 or bf16
/// - key, value: `[batch, key_heads, length, d_head]`, of any of these types, as in a cache
///
/// # Panics
///
/// If `key_heads` does not divide `heads`, there are more positions than keys, the shapes differ from those
/// above, or the type is none of the above.
///
/// # Example
///
/// ```
/// use bitnet_burn::functions::causal_attention;
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::default();
/// // All keys are equal, so that each output is the mean of the values up to its position.
/// let [query, key] = [(); 2].map(|()| Tensor::<4>::ones([1, 1, 3, 1], &device));
/// let value = Tensor::<1>::from_floats([2.0, 4.0, 9.0], &device).reshape([1, 1, 3, 1]);
/// let mean = causal_attention(query, key, value).into_data().to_vec::<f32>().unwrap();
/// assert!(mean.iter().zip([2.0, 3.0, 5.0]).all(|(a, b)| (a - b).abs() < 1e-5));
/// ```
#[track_caller]
pub fn causal_attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>) -> Tensor<4> {
    for x in [&query, &key, &value] {
        assert_float("causal_attention", x);
    }
    let [batch, heads, positions, d_head] = query.dims();
    let [_, key_heads, length, _] = key.dims();
    assert_shape!(key, [batch, key_heads, length, d_head]);
    assert_shape!(value, [batch, key_heads, length, d_head]);
    assert!(
        key_heads > 0 && heads.is_multiple_of(key_heads),
        "{heads} heads cannot share {key_heads} heads of the keys"
    );
    assert!(
        positions <= length,
        "{positions} queries are not the last of {length} positions"
    );
    if query.shape().num_elements() == 0 && !query.is_autodiff() {
        return query;
    }
    let [query, key, value] = [query, key, value].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::causal_attention(query, key, value))
}
