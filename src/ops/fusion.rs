//! Output shapes and types of the operations, which Fusion needs before it executes them.

use bitnet_burn_kernels::{BLOCK, DynamicMap, Groups, Statistic};
use burn::backend::{DType, FloatDType, Shape, fusion::custom::TensorSpec};

use bitnet_burn_kernels::packing::code_words_per_row;

use super::packed_shape;

fn scales(groups: &Groups) -> TensorSpec {
    TensorSpec::new(Shape::from(groups.scale_shape()), DType::F32)
}

pub(super) fn values_and_scales(values: &TensorSpec, groups: &Groups) -> (TensorSpec, TensorSpec) {
    (values.clone(), scales(groups))
}

pub(super) fn values_and_scales_of_bits(
    values: &TensorSpec,
    groups: &Groups,
    _max_code: &f32,
) -> (TensorSpec, TensorSpec) {
    values_and_scales(values, groups)
}

pub(super) fn scales_of(_values: &TensorSpec, groups: &Groups, _: &Statistic) -> TensorSpec {
    scales(groups)
}

pub(super) fn packed_words(
    weight: &TensorSpec,
    _scales: &TensorSpec,
    _groups: &Groups,
) -> TensorSpec {
    TensorSpec::new(packed_shape(&weight.shape), DType::U32)
}

pub(super) fn unpacked_values(
    _packed: &TensorSpec,
    _scales: &TensorSpec,
    _groups: &Groups,
    shape: &Shape,
    dtype: &FloatDType,
) -> TensorSpec {
    TensorSpec::new(shape.clone(), (*dtype).into())
}

pub(super) fn codes_and_scales(x: &TensorSpec, _max_code: &f32) -> (TensorSpec, TensorSpec) {
    let (tokens, words) = (x.shape[0], code_words_per_row(x.shape[1]));
    (
        TensorSpec::new(Shape::new([tokens, words]), DType::U32),
        TensorSpec::new(Shape::new([tokens, 1]), DType::F32),
    )
}

pub(super) fn dequantized_values(
    codes: &TensorSpec,
    _scales: &TensorSpec,
    d_input: &usize,
    dtype: &FloatDType,
) -> TensorSpec {
    TensorSpec::new(Shape::new([codes.shape[0], *d_input]), (*dtype).into())
}

pub(super) fn ternary_outputs(
    codes: &TensorSpec,
    _code_scales: &TensorSpec,
    weight: &TensorSpec,
    bias: &TensorSpec,
    _groups: &Groups,
) -> TensorSpec {
    TensorSpec::new(Shape::new([codes.shape[0], weight.shape[1]]), bias.dtype)
}

pub(super) fn packed_outputs(
    codes: &TensorSpec,
    _code_scales: &TensorSpec,
    packed: &TensorSpec,
    _weight_scales: &TensorSpec,
    bias: &TensorSpec,
    _groups: &Groups,
    _d_input: &usize,
) -> TensorSpec {
    TensorSpec::new(Shape::new([codes.shape[0], packed.shape[0]]), bias.dtype)
}

pub(super) fn blockwise_codes(values: &TensorSpec, _map: &DynamicMap) -> (TensorSpec, TensorSpec) {
    let n = values.shape.num_elements();
    (
        TensorSpec::new(Shape::new([n.div_ceil(4)]), DType::U32),
        TensorSpec::new(Shape::new([n.div_ceil(BLOCK)]), DType::F32),
    )
}

pub(super) fn blockwise_values(
    _codes: &TensorSpec,
    _absmax: &TensorSpec,
    _map: &DynamicMap,
    n: &usize,
) -> TensorSpec {
    TensorSpec::new(Shape::new([*n]), DType::F32)
}

pub(super) fn bf16_values(values: &TensorSpec, _seed: &u32) -> TensorSpec {
    TensorSpec::new(values.shape.clone(), DType::BF16)
}
