//! Output shapes and types of the operations, which Fusion needs before they run.

use bitnet_burn_kernels::{Groups, Statistic};
use burn::backend::{DType, FloatDType, Shape, fusion::custom::TensorSpec};

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
