//! The operations as chains of Burn operations: what a backend without its own loops uses, and
//! the twin that the others are tested against.

mod hadamard;

pub(super) use hadamard::hadamard_transform;

use bitnet_burn_kernels::{
    Groups,
    packing::{BITS_PER_CODE, CODES_PER_WORD, words_per_row},
    reference::{EPSILON, mean_prescale},
};
use burn::backend::{
    Backend, FloatDType, IntDType, Shape, TensorData, TensorMetadata, get_or_init_device_settings,
    tensor::{BoolTensor, FloatTensor, IntTensor},
};

/// The values in `f32` as `[outer, size, inner]`.
fn grouped<B: Backend>(values: FloatTensor<B>, groups: Groups) -> FloatTensor<B> {
    let shape = Shape::new([groups.outer, groups.size, groups.inner]);
    B::float_reshape(B::float_cast(values, FloatDType::F32), shape)
}

/// The scales `[outer, inner]` as `[outer, 1, inner]`, to be broadcast over the groups.
fn broadcast<B: Backend>(scales: FloatTensor<B>, groups: Groups) -> FloatTensor<B> {
    B::float_reshape(scales, Shape::new([groups.outer, 1, groups.inner]))
}

/// The scales `[outer, 1, inner]` as `[outer, inner]`.
fn flat<B: Backend>(scales: FloatTensor<B>, groups: Groups) -> FloatTensor<B> {
    B::float_reshape(scales, Shape::new(groups.scale_shape()))
}

/// Results back in the caller's shape and type.
fn ungrouped<B: Backend>(
    values: FloatTensor<B>,
    shape: Shape,
    dtype: FloatDType,
) -> FloatTensor<B> {
    B::float_cast(B::float_reshape(values, shape), dtype)
}

fn mask<B: Backend>(
    tensor: &FloatTensor<B>,
    compare: impl FnOnce(FloatTensor<B>, burn::backend::BoolDType) -> BoolTensor<B>,
) -> BoolTensor<B> {
    let dtype = get_or_init_device_settings::<B>(&tensor.device()).bool_dtype;
    compare(tensor.clone(), dtype)
}

fn not_a_number<B: Backend>(values: &FloatTensor<B>) -> BoolTensor<B> {
    mask::<B>(values, |values, dtype| {
        B::float_not_equal(values.clone(), values, dtype)
    })
}

/// Lower bound of a scale. Written with a comparison, which leaves a NaN alone, as a backend's
/// own clamp may not.
fn at_least_epsilon<B: Backend>(scales: FloatTensor<B>) -> FloatTensor<B> {
    let small = mask::<B>(&scales, |scales, dtype| {
        B::float_lower_elem(scales, EPSILON.into(), dtype)
    });
    B::float_mask_fill(scales, small, EPSILON.into())
}

fn epsilon_scales<B: Backend>(values: &FloatTensor<B>, groups: Groups) -> FloatTensor<B> {
    let shape = Shape::new(groups.scale_shape());
    B::float_full(shape, EPSILON.into(), &values.device(), FloatDType::F32)
}

pub(super) fn ternary_fake_quant<B: Backend>(
    weight: FloatTensor<B>,
    groups: Groups,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let (shape, dtype) = (weight.shape(), weight.dtype().into());
    if groups.num_elements() == 0 {
        let scales = epsilon_scales::<B>(&weight, groups);
        return (weight, scales);
    }
    let values = grouped::<B>(weight, groups);

    let prescale = mean_prescale(groups.size);
    let scaled = B::float_mul_scalar(B::float_abs(values.clone()), prescale.into());
    let denominator = groups.size as f32 * prescale;
    let mean = B::float_div_scalar(B::float_sum_dim(scaled, 1), denominator.into());
    let gamma = at_least_epsilon::<B>(mean);

    let codes = ternary_codes::<B>(values, gamma.clone());
    let quantized = B::float_mul(codes, gamma.clone());
    (
        ungrouped::<B>(quantized, shape, dtype),
        flat::<B>(gamma, groups),
    )
}

/// `clamp(round(W * (1 / gamma)), -1, 1)`.
fn ternary_codes<B: Backend>(values: FloatTensor<B>, gamma: FloatTensor<B>) -> FloatTensor<B> {
    let scaled = B::float_mul(values, B::float_recip(gamma));
    B::float_clamp(B::float_round(scaled), (-1.0).into(), 1.0.into())
}

/// `max_code / absmax`, as one division: `max_code * (1 / absmax)` rounds twice.
fn inverse_scales<B: Backend>(absmax: FloatTensor<B>, max_code: f32) -> FloatTensor<B> {
    let (shape, device) = (absmax.shape(), absmax.device());
    let max_code = B::float_full(shape, max_code.into(), &device, FloatDType::F32);
    B::float_div(max_code, absmax)
}

pub(super) fn absmax_fake_quant<B: Backend>(
    x: FloatTensor<B>,
    groups: Groups,
    max_code: f32,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let (shape, dtype) = (x.shape(), x.dtype().into());
    if groups.num_elements() == 0 {
        let absmax = epsilon_scales::<B>(&x, groups);
        return (x, inverse_scales::<B>(absmax, max_code));
    }
    let values = grouped::<B>(x, groups);

    // A maximum may pass over a NaN. As infinity it gives the scale 0, and 0 / 0 shows it again.
    let not_a_number = not_a_number::<B>(&values);
    let magnitude = B::float_mask_fill(
        B::float_abs(values.clone()),
        not_a_number,
        f32::INFINITY.into(),
    );
    let absmax = at_least_epsilon::<B>(B::float_max_dim(magnitude, 1));
    let scales = inverse_scales::<B>(absmax, max_code);

    let codes = B::float_round(B::float_mul(values, scales.clone()));
    let codes = B::float_clamp(codes, (-max_code - 1.0).into(), max_code.into());
    let quantized = B::float_div(codes, scales.clone());
    (
        ungrouped::<B>(quantized, shape, dtype),
        flat::<B>(scales, groups),
    )
}

/// `4^i` for the sixteen codes of a word, as `[1, 1, 16]` of 64 bits.
fn code_weights<B: Backend>(device: &B::Device) -> IntTensor<B> {
    let weights: Vec<i64> = (0..CODES_PER_WORD)
        .map(|i| 1 << (BITS_PER_CODE * i))
        .collect();
    B::int_from_data(TensorData::new(weights, [1, 1, CODES_PER_WORD]), device)
}

pub(super) fn ternary_pack<B: Backend>(
    weight: FloatTensor<B>,
    scales: FloatTensor<B>,
    groups: Groups,
) -> IntTensor<B> {
    let device = weight.device();
    let shape = weight.shape();
    let packed = super::packed_shape(&shape);
    if groups.num_elements() == 0 {
        return B::int_zeros(packed, &device, IntDType::U32);
    }
    let row_length = shape[shape.num_dims() - 1];
    let rows = groups.num_elements() / row_length;
    let words = words_per_row(row_length);

    let codes = ternary_codes::<B>(grouped::<B>(weight, groups), broadcast::<B>(scales, groups));
    // A NaN has no code, and NdArray does not convert it to an integer.
    let uncoded = not_a_number::<B>(&codes);
    let codes = B::float_mask_fill(codes, uncoded, 0.0.into());
    let codes = B::float_reshape(codes, Shape::new([rows, row_length]));
    let padding = B::float_zeros(
        Shape::new([rows, words * CODES_PER_WORD - row_length]),
        &device,
        FloatDType::F32,
    );
    let codes = match words * CODES_PER_WORD == row_length {
        true => codes,
        false => B::float_cat(vec![codes, padding], 1),
    };
    let codes = B::float_reshape(codes, Shape::new([rows, words, CODES_PER_WORD]));
    let codes = B::float_into_int(B::float_add_scalar(codes, 1.0.into()), IntDType::I64);
    let sum = B::int_sum_dim(B::int_mul(codes, code_weights::<B>(&device)), 2);
    B::int_cast(B::int_reshape(sum, packed), IntDType::U32)
}

pub(super) fn ternary_unpack<B: Backend>(
    packed: IntTensor<B>,
    scales: FloatTensor<B>,
    groups: Groups,
    shape: Shape,
    dtype: FloatDType,
) -> FloatTensor<B> {
    let device = scales.device();
    if groups.num_elements() == 0 {
        return B::float_zeros(shape, &device, dtype);
    }
    let row_length = shape[shape.num_dims() - 1];
    let rows = groups.num_elements() / row_length;
    let words = words_per_row(row_length);

    let packed = B::int_cast(packed, IntDType::I64);
    let packed = B::int_reshape(packed, Shape::new([rows, words, 1]));
    let codes = B::int_div(packed, code_weights::<B>(&device));
    let codes = B::int_remainder_scalar(codes, 4.into());
    let codes = B::int_reshape(codes, Shape::new([rows, words * CODES_PER_WORD]));
    let codes = B::int_slice(codes, &[(0..rows).into(), (0..row_length).into()]);
    let codes = B::float_sub_scalar(B::int_into_float(codes, FloatDType::F32), 1.0.into());
    let values = B::float_mul(grouped::<B>(codes, groups), broadcast::<B>(scales, groups));
    ungrouped::<B>(values, shape, dtype)
}
