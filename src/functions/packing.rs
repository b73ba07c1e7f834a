use burn::{
    backend::{Dispatch, FloatDType, Shape},
    tensor::{DType, Int, Tensor},
};

use super::operand::{assert_float, assert_per_group};
use crate::ops::{Groups, PackedTernary, QatOps, packing::words_per_row};

/// Packs the ternary codes `clamp(round(W / gamma), -1, 1)` of a weight, sixteen to a `u32`
/// along the last dimension, for the scales `gamma` that
/// [`ternary_fake_quant`](super::ternary_fake_quant) returned.
///
/// The bit layout is documented in [`packing`](bitnet_burn_kernels::packing). A NaN has no code; the
/// scale of its group is NaN instead.
///
/// # Shapes
///
/// - weight: `[.., n]`, f32, f16 or bf16
/// - scales: `[outer, inner]` of `groups`, f32
/// - output: `[.., ceil(n / 16)]`, u32
///
/// # Panics
///
/// If `groups` does not cover the weight, or the scales have another shape or type.
#[track_caller]
pub fn ternary_pack<const D: usize>(
    weight: Tensor<D>,
    scales: Tensor<2>,
    groups: Groups,
) -> Tensor<D, Int> {
    assert_float("ternary_pack", &weight);
    groups.assert_cover(&weight.dims());
    assert_per_group("scales", &scales, groups);
    Tensor::from_dispatch(Dispatch::ternary_pack(
        weight.into_dispatch(),
        scales.into_dispatch(),
        groups,
    ))
}

/// Unpacks `code * gamma`, the inverse of [`ternary_pack`]. Equals the fake-quantized weight bit for bit,
/// except for the sign of zeros.
///
/// # Shapes
///
/// - packed: `[.., ceil(n / 16)]`, u32
/// - scales: `[outer, inner]` of `groups`, f32
/// - output: `shape = [.., n]`, of type `dtype`
///
/// # Panics
///
/// If `groups` does not cover `shape`, or the packed codes or scales do not fit it.
#[track_caller]
pub fn ternary_unpack<const D: usize>(
    packed: Tensor<D, Int>,
    scales: Tensor<2>,
    groups: Groups,
    shape: [usize; D],
    dtype: FloatDType,
) -> Tensor<D> {
    groups.assert_cover(&shape);
    assert_per_group("scales", &scales, groups);
    let mut expected = shape;
    expected[D - 1] = words_per_row(shape[D - 1]);
    assert_eq!(
        packed.dims(),
        expected,
        "packed codes of a tensor of shape {shape:?} have shape {expected:?}, got {:?}",
        packed.dims()
    );
    assert_eq!(
        packed.dtype(),
        DType::U32,
        "packed codes are u32 words, got {:?}",
        packed.dtype()
    );
    let packed = PackedTernary {
        words: packed.into_dispatch(),
        scales: scales.into_dispatch(),
        groups,
    };
    let values = Dispatch::ternary_unpack(packed, Shape::from(shape), dtype);
    Tensor::from_dispatch(values)
}
