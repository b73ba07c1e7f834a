//! The operations as chains of Burn operations: the implementation for backends without their own, and
//! the reference that the others are tested against.

mod attention;
mod bit_linear;
mod blockwise;
mod gated_activation;
mod hadamard;
mod rms_norm;
mod rotate;
mod stochastic_round;

pub(super) use attention::{causal_attention, causal_attention_gradient};
#[cfg(feature = "cube")]
pub(super) use bit_linear::biased;
pub(super) use bit_linear::{
    PackedRows, absmax_dequantize, absmax_quantize, packed_linear, quantized_as, ternary_linear,
};
pub(super) use blockwise::{adamw_8bit, blockwise_dequantize, blockwise_quantize};
pub(super) use gated_activation::{gated_activation, gated_activation_gradient};
pub(super) use hadamard::hadamard_transform;
pub(super) use rms_norm::{rms_norm, rms_norm_gradient};
pub(super) use rotate::rotate;
pub(super) use stochastic_round::stochastic_round;

use bitnet_burn_kernels::{
    CodeRange, GradientRule, Groups, Statistic,
    packing::{BITS_PER_CODE, CODES_PER_WORD, words_per_row},
    reference::{EPSILON, mean_prescale},
};
use burn::backend::{
    Backend, FloatDType, IntDType, Shape, TensorData, TensorMetadata, get_or_init_device_settings,
    tensor::{BoolTensor, FloatTensor, IntTensor},
};

/// Returns the values in `f32` as `[outer, size, inner]`.
fn grouped<B: Backend>(values: FloatTensor<B>, groups: Groups) -> FloatTensor<B> {
    let shape = Shape::new([groups.outer, groups.size, groups.inner]);
    B::float_reshape(B::float_cast(values, FloatDType::F32), shape)
}

/// Returns the scales `[outer, inner]` as `[outer, 1, inner]`, to broadcast over the groups.
fn broadcast<B: Backend>(scales: FloatTensor<B>, groups: Groups) -> FloatTensor<B> {
    B::float_reshape(scales, Shape::new([groups.outer, 1, groups.inner]))
}

/// Returns the scales `[outer, 1, inner]` as `[outer, inner]`.
fn flat<B: Backend>(scales: FloatTensor<B>, groups: Groups) -> FloatTensor<B> {
    B::float_reshape(scales, Shape::new(groups.scale_shape()))
}

/// Returns results in the caller's shape and type.
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

/// Applies the lower bound of a scale. The comparison leaves a NaN unchanged, which a backend's clamp
/// may not.
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

/// Returns `max(mean|v|, EPSILON)` of `[outer, size, inner]`, as `[outer, 1, inner]`.
fn absmean<B: Backend>(values: FloatTensor<B>, groups: Groups) -> FloatTensor<B> {
    let prescale = mean_prescale(groups.size);
    let scaled = B::float_mul_scalar(B::float_abs(values), prescale.into());
    let denominator = groups.size as f32 * prescale;
    let mean = B::float_div_scalar(B::float_sum_dim(scaled, 1), denominator.into());
    at_least_epsilon::<B>(mean)
}

/// Returns `max(max|v|, EPSILON)` of `[outer, size, inner]`, as `[outer, 1, inner]`.
fn absmax<B: Backend>(values: FloatTensor<B>) -> FloatTensor<B> {
    // A maximum may drop a NaN. Replaced by infinity, it gives the scale 0, and 0 / 0 is NaN again.
    let not_a_number = not_a_number::<B>(&values);
    let magnitude = B::float_mask_fill(B::float_abs(values), not_a_number, f32::INFINITY.into());
    at_least_epsilon::<B>(B::float_max_dim(magnitude, 1))
}

pub(super) fn group_statistic<B: Backend>(
    values: FloatTensor<B>,
    groups: Groups,
    statistic: Statistic,
) -> FloatTensor<B> {
    if groups.num_elements() == 0 {
        return epsilon_scales::<B>(&values, groups);
    }
    let values = grouped::<B>(values, groups);
    let scales = match statistic {
        Statistic::AbsMean => absmean::<B>(values, groups),
        Statistic::AbsMax => absmax::<B>(values),
    };
    flat::<B>(scales, groups)
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
    let gamma = absmean::<B>(values.clone(), groups);
    let codes = ternary_codes::<B>(values, gamma.clone());
    let quantized = B::float_mul(codes, gamma.clone());
    (
        ungrouped::<B>(quantized, shape, dtype),
        flat::<B>(gamma, groups),
    )
}

/// Returns `clamp(round(W * (1 / gamma)), -1, 1)`.
fn ternary_codes<B: Backend>(values: FloatTensor<B>, gamma: FloatTensor<B>) -> FloatTensor<B> {
    let scaled = B::float_mul(values, B::float_recip(gamma));
    B::float_clamp(B::float_round(scaled), (-1.0).into(), 1.0.into())
}

/// Returns `max_code / absmax`, as one division: `max_code * (1 / absmax)` rounds twice.
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

    let scales = inverse_scales::<B>(absmax::<B>(values.clone()), max_code);

    let codes = B::float_round(B::float_mul(values, scales.clone()));
    let codes = B::float_clamp(codes, (-max_code - 1.0).into(), max_code.into());
    let quantized = B::float_div(codes, scales.clone());
    (
        ungrouped::<B>(quantized, shape, dtype),
        flat::<B>(scales, groups),
    )
}

/// Returns `4^i` for the sixteen codes of a word, as 64-bit `[1, 1, 16]`.
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

/// Returns values in codes, `x / step + zero_point`, as `[outer, size, inner]`, and the steps and zero
/// points for broadcasting.
fn coded<B: Backend>(
    x: FloatTensor<B>,
    steps: FloatTensor<B>,
    zero_points: FloatTensor<B>,
    groups: Groups,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let steps = broadcast::<B>(steps, groups);
    let zero_points = broadcast::<B>(zero_points, groups);
    let scaled = B::float_div(grouped::<B>(x, groups), steps.clone());
    let v = B::float_add(scaled, zero_points.clone());
    (v, steps, zero_points)
}

pub(super) fn affine_fake_quant<B: Backend>(
    x: FloatTensor<B>,
    steps: FloatTensor<B>,
    zero_points: FloatTensor<B>,
    groups: Groups,
    codes: CodeRange,
) -> FloatTensor<B> {
    if groups.num_elements() == 0 {
        return x;
    }
    let (shape, dtype) = (x.shape(), x.dtype().into());
    let (v, steps, zero_points) = coded::<B>(x, steps, zero_points, groups);
    let codes = B::float_clamp(B::float_round(v), codes.min.into(), codes.max.into());
    let quantized = B::float_mul(B::float_sub(codes, zero_points), steps);
    ungrouped::<B>(quantized, shape, dtype)
}

pub(super) fn affine_gradient<B: Backend>(
    x: FloatTensor<B>,
    grads: FloatTensor<B>,
    steps: FloatTensor<B>,
    zero_points: FloatTensor<B>,
    groups: Groups,
    codes: CodeRange,
    rule: GradientRule,
) -> FloatTensor<B> {
    if groups.num_elements() == 0 {
        return grads;
    }
    let (shape, dtype) = (x.shape(), x.dtype().into());
    let (v, _, zero_points) = coded::<B>(x, steps, zero_points, groups);
    let factor = factor::<B>(v.clone(), zero_points, codes, rule);
    let factor = B::float_mask_fill(factor, not_a_number::<B>(&v), 0.0.into());
    let grads = B::float_mul(grouped::<B>(grads, groups), factor);
    ungrouped::<B>(grads, shape, dtype)
}

fn factor<B: Backend>(
    v: FloatTensor<B>,
    zero_points: FloatTensor<B>,
    codes: CodeRange,
    rule: GradientRule,
) -> FloatTensor<B> {
    let CodeRange { min, max } = codes;
    match rule {
        GradientRule::Clipped { bound } => {
            let x = B::float_sub(v, zero_points.clone());
            let end = |code: f32| {
                let end = B::float_add_scalar(B::float_neg(zero_points.clone()), code.into());
                B::float_mul_scalar(end, bound.into())
            };
            let (low, high) = (end(min), end(max));
            let ones = B::float_ones(x.shape(), &x.device(), FloatDType::F32);
            let below = mask::<B>(&x, |x, dtype| B::float_lower(x, low, dtype));
            let above = mask::<B>(&x, |x, dtype| B::float_greater(x, high, dtype));
            let factor = B::float_mask_fill(ones, below, 0.0.into());
            B::float_mask_fill(factor, above, 0.0.into())
        }
        GradientRule::Tanh { temperature } => {
            let k = 1.0 / temperature;
            let lower = B::float_clamp(B::float_floor(v.clone()), min.into(), (max - 1.0).into());
            let threshold = B::float_add_scalar(lower, 0.5.into());
            let slope = B::float_mul_scalar(B::float_sub(v.clone(), threshold), k.into());
            let slope = B::float_tanh(slope);
            let slope = B::float_neg(B::float_mul(slope.clone(), slope));
            let slope = B::float_add_scalar(slope, 1.0.into());
            let factor = B::float_mul_scalar(slope, (k / (2.0 * (0.5 * k).tanh())).into());
            outside_as::<B>(factor, &v, codes, 0.0, 0.0)
        }
        GradientRule::Sigmoid { temperature } => sigmoid_slopes::<B>(v, codes, temperature),
        GradientRule::StepSize => {
            let inside = B::float_sub(B::float_round(v.clone()), v.clone());
            outside_as::<B>(inside, &v, codes, min, max)
        }
    }
}

/// Replaces `factor` by other values where `v` lies below and above the codes.
fn outside_as<B: Backend>(
    factor: FloatTensor<B>,
    v: &FloatTensor<B>,
    codes: CodeRange,
    below: f32,
    above: f32,
) -> FloatTensor<B> {
    let is_below = mask::<B>(v, |v, dtype| {
        B::float_lower_elem(v, codes.min.into(), dtype)
    });
    let is_above = mask::<B>(v, |v, dtype| {
        B::float_greater_elem(v, codes.max.into(), dtype)
    });
    let factor = B::float_mask_fill(factor, is_below, below.into());
    B::float_mask_fill(factor, is_above, above.into())
}

fn sigmoid_slopes<B: Backend>(
    v: FloatTensor<B>,
    codes: CodeRange,
    temperature: f32,
) -> FloatTensor<B> {
    let mut sum = B::float_zeros(v.shape(), &v.device(), FloatDType::F32);
    let mut lower = codes.min;
    while lower < codes.max {
        let distance = B::float_sub_scalar(v.clone(), (lower + 0.5).into());
        let distance = B::float_abs(B::float_div_scalar(distance, temperature.into()));
        let decay = B::float_exp(B::float_neg(distance));
        let one_more = B::float_add_scalar(decay.clone(), 1.0.into());
        let slope = B::float_div(decay, B::float_mul(one_more.clone(), one_more));
        sum = B::float_add(sum, slope);
        lower += 1.0;
    }
    B::float_div_scalar(sum, temperature.into())
}
