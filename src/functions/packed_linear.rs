use burn::{
    backend::Dispatch,
    tensor::{DType, Int, Tensor},
};

use super::{
    bit_linear::{bias_or_none, empty_sum},
    operand::{assert_float, assert_per_group},
};
use crate::ops::{Groups, PackedTernary, QatOps, QuantRange, packing::words_per_row};

/// Computes `Y = Qx(X) W + b` with a packed ternary weight: the values of
/// [`bit_linear`](super::bit_linear), bit for bit.
///
/// Under autodiff `dX = dY W` (straight-through estimator) and `db = sum dY`. The weight is a constant, and
/// backward unpacks about a million values of it at a time. The forward pass on Flex unpacks nothing.
///
/// # Shapes
///
/// - x: `[.., d_input]`
/// - packed: `[d_output, ceil(d_input / 16)]`, u32: [`ternary_pack`](super::ternary_pack) of the
///   transposed weight
/// - scales: `[outer, inner]` of `groups`, f32
/// - bias: `[d_output]`, of the type of `x`
/// - groups: of the transposed weight `[d_output, d_input]`
/// - output: `[.., d_output]`, of the type of `x`
///
/// # Panics
///
/// If shapes or types do not fit, or `bits` is not in 2..=8.
#[track_caller]
pub fn packed_linear<const D: usize>(
    x: Tensor<D>,
    packed: Tensor<2, Int>,
    scales: Tensor<2>,
    bias: Option<Tensor<1>>,
    groups: Groups,
    bits: u8,
) -> Tensor<D> {
    let mut shape = x.dims();
    let d_input = shape[D - 1];
    let [d_output, words] = packed.dims();
    assert_float("packed_linear", &x);
    groups.assert_cover(&[d_output, d_input]);
    assert_per_group("scales", &scales, groups);
    assert!(
        words == words_per_row(d_input) && packed.dtype() == DType::U32,
        "packed rows of {d_input} features are {} words of u32, got {words} of {:?}",
        words_per_row(d_input),
        packed.dtype()
    );
    let max_code = QuantRange::signed(bits).max;
    let tokens = shape[..D - 1].iter().product();
    shape[D - 1] = d_output;
    let bias = bias_or_none(&x, bias, d_output);
    if tokens * d_input * d_output == 0 {
        return empty_sum(&x, shape, bias);
    }
    let weight = PackedTernary {
        words: packed.into_dispatch(),
        scales: scales.into_dispatch(),
        groups,
    };
    let x = x.reshape([tokens, d_input]).into_dispatch();
    let y = Dispatch::packed_bit_linear(x, weight, bias.into_dispatch(), max_code);
    Tensor::<2>::from_dispatch(y).reshape(shape)
}
