//! The operations as chains of Burn operations: the implementation for backends without their own, and
//! the reference that the others are tested against.

mod adamw;
mod adapter;
mod affine;
mod attention;
mod bit_linear;
mod blockwise;
mod cross_entropy;
mod four_bit;
mod four_bit_linear;
mod gated_activation;
mod hadamard;
mod packing;
mod rms_norm;
mod rotate;
mod stochastic_round;
mod words;

pub(super) use adamw::fused_adamw;
pub(super) use adapter::{by_tokens, linear, low_rank_input, product};
pub(super) use affine::{affine_fake_quant, affine_gradient};
pub(super) use attention::{causal_attention, causal_attention_gradient};
pub(super) use bit_linear::{
    PackedRows, absmax_dequantize, absmax_quantize, biased, packed_linear, quantized_as,
    ternary_linear,
};
pub(super) use blockwise::{adamw_8bit, blockwise_dequantize, blockwise_quantize};
pub(super) use cross_entropy::{linear_cross_entropy, linear_cross_entropy_gradients};
pub(super) use four_bit::{four_bit_dequantize, four_bit_quantize};
pub(super) use four_bit_linear::FourBitRows;
#[cfg(any(feature = "flex", feature = "cube"))]
pub(super) use four_bit_linear::block_maxima;
pub(super) use gated_activation::{gated_activation, gated_activation_gradient};
pub(super) use hadamard::hadamard_transform;
pub(super) use packing::{ternary_pack, ternary_unpack};
pub(super) use rms_norm::{rms_norm, rms_norm_gradient};
pub(super) use rotate::rotate;
pub(super) use stochastic_round::stochastic_round;

use bitnet_burn_kernels::{
    Groups, Statistic,
    reference::{EPSILON, mean_prescale},
};
use burn::backend::{
    Backend, BoolDType, FloatDType, Shape, TensorMetadata, get_or_init_device_settings,
    tensor::{BoolTensor, FloatTensor},
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

/// Returns the type of the results of comparisons on the device of `tensor`.
fn bool_dtype<B: Backend>(tensor: &FloatTensor<B>) -> BoolDType {
    get_or_init_device_settings::<B>(&tensor.device()).bool_dtype
}

fn not_a_number<B: Backend>(values: &FloatTensor<B>) -> BoolTensor<B> {
    B::float_not_equal(values.clone(), values.clone(), bool_dtype::<B>(values))
}

/// Applies the lower bound of a scale. The comparison leaves a NaN unchanged, which a backend's clamp
/// may not.
fn at_least_epsilon<B: Backend>(scales: FloatTensor<B>) -> FloatTensor<B> {
    let dtype = bool_dtype::<B>(&scales);
    let small = B::float_lower_elem(scales.clone(), EPSILON.into(), dtype);
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
