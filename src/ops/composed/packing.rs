//! Packing of ternary codes as Burn operations.

use bitnet_burn_kernels::{
    Groups,
    packing::{BITS_PER_CODE, words_per_row},
};
use burn::backend::{
    Backend, FloatDType, IntDType, Shape, TensorMetadata,
    tensor::{FloatTensor, IntTensor},
};

use super::{broadcast, grouped, not_a_number, ternary_codes, ungrouped, words};
use crate::ops::{PackedTernary, packed_shape};

pub(in crate::ops) fn ternary_pack<B: Backend>(
    weight: FloatTensor<B>,
    scales: FloatTensor<B>,
    groups: Groups,
) -> IntTensor<B> {
    let shape = weight.shape();
    let packed = packed_shape(&shape);
    if groups.num_elements() == 0 {
        return B::int_zeros(packed, &weight.device(), IntDType::U32);
    }
    let row_length = shape[shape.num_dims() - 1];
    let rows = groups.num_elements() / row_length;
    let codes = ternary_codes::<B>(grouped::<B>(weight, groups), broadcast::<B>(scales, groups));
    // A NaN has no code, and NdArray does not convert it to an integer.
    let uncoded = not_a_number::<B>(&codes);
    let codes = B::float_mask_fill(codes, uncoded, 0.0.into());
    let codes = B::float_reshape(codes, Shape::new([rows, row_length]));
    let codes = B::float_into_int(B::float_add_scalar(codes, 1.0.into()), IntDType::I64);
    let words = words::packed::<B>(codes, BITS_PER_CODE, words_per_row(row_length), 1);
    B::int_reshape(words, packed)
}

pub(in crate::ops) fn ternary_unpack<B: Backend>(
    packed: PackedTernary<B>,
    shape: Shape,
    dtype: FloatDType,
) -> FloatTensor<B> {
    let PackedTernary {
        words,
        scales,
        groups,
    } = packed;
    if groups.num_elements() == 0 {
        return B::float_zeros(shape, &scales.device(), dtype);
    }
    let row_length = shape[shape.num_dims() - 1];
    let rows = groups.num_elements() / row_length;
    let codes = words::unpacked::<B>(words, BITS_PER_CODE, [rows, row_length]);
    let codes = B::float_sub_scalar(B::int_into_float(codes, FloatDType::F32), 1.0.into());
    let values = B::float_mul(grouped::<B>(codes, groups), broadcast::<B>(scales, groups));
    ungrouped::<B>(values, shape, dtype)
}
