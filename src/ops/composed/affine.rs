//! Evenly spaced levels as Burn operations.

use bitnet_burn_kernels::{GradientRule, QuantRange};
use burn::backend::{Backend, FloatDType, TensorMetadata, tensor::FloatTensor};

use super::{bool_dtype, broadcast, grouped, not_a_number, ungrouped};
use crate::ops::AffineLevels;

/// Returns values in codes, `v = x / scale + zero_point`, as `[outer, size, inner]`, and levels whose scales
/// and zero points broadcast over them.
fn coded<B: Backend>(
    x: FloatTensor<B>,
    levels: AffineLevels<B>,
) -> (FloatTensor<B>, AffineLevels<B>) {
    let groups = levels.groups;
    let levels = AffineLevels {
        scales: broadcast::<B>(levels.scales, groups),
        zero_points: broadcast::<B>(levels.zero_points, groups),
        ..levels
    };
    let scaled = B::float_div(grouped::<B>(x, groups), levels.scales.clone());
    (B::float_add(scaled, levels.zero_points.clone()), levels)
}

pub(in crate::ops) fn affine_fake_quant<B: Backend>(
    x: FloatTensor<B>,
    levels: AffineLevels<B>,
) -> FloatTensor<B> {
    if levels.groups.num_elements() == 0 {
        return x;
    }
    let (shape, dtype) = (x.shape(), x.dtype().into());
    let (v, levels) = coded::<B>(x, levels);
    let QuantRange { min, max } = levels.codes;
    let codes = B::float_clamp(B::float_round(v), min.into(), max.into());
    let quantized = B::float_mul(B::float_sub(codes, levels.zero_points), levels.scales);
    ungrouped::<B>(quantized, shape, dtype)
}

pub(in crate::ops) fn affine_gradient<B: Backend>(
    x: FloatTensor<B>,
    grads: FloatTensor<B>,
    levels: AffineLevels<B>,
    rule: GradientRule,
) -> FloatTensor<B> {
    let groups = levels.groups;
    if groups.num_elements() == 0 {
        return grads;
    }
    let (shape, dtype) = (x.shape(), x.dtype().into());
    let (v, levels) = coded::<B>(x, levels);
    let factor = factor::<B>(v.clone(), levels.zero_points, levels.codes, rule);
    let factor = B::float_mask_fill(factor, not_a_number::<B>(&v), 0.0.into());
    let grads = B::float_mul(grouped::<B>(grads, groups), factor);
    ungrouped::<B>(grads, shape, dtype)
}

fn factor<B: Backend>(
    v: FloatTensor<B>,
    zero_points: FloatTensor<B>,
    codes: QuantRange,
    rule: GradientRule,
) -> FloatTensor<B> {
    let QuantRange { min, max } = codes;
    match rule {
        GradientRule::Clipped { bound } => {
            let x = B::float_sub(v, zero_points.clone());
            let end = |code: f32| {
                let end = B::float_add_scalar(B::float_neg(zero_points.clone()), code.into());
                B::float_mul_scalar(end, bound.into())
            };
            let (low, high) = (end(min), end(max));
            let ones = B::float_ones(x.shape(), &x.device(), FloatDType::F32);
            let dtype = bool_dtype::<B>(&x);
            let below = B::float_lower(x.clone(), low, dtype);
            let above = B::float_greater(x, high, dtype);
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
    codes: QuantRange,
    below: f32,
    above: f32,
) -> FloatTensor<B> {
    let dtype = bool_dtype::<B>(v);
    let is_below = B::float_lower_elem(v.clone(), codes.min.into(), dtype);
    let is_above = B::float_greater_elem(v.clone(), codes.max.into(), dtype);
    let factor = B::float_mask_fill(factor, is_below, below.into());
    B::float_mask_fill(factor, is_above, above.into())
}

fn sigmoid_slopes<B: Backend>(
    v: FloatTensor<B>,
    codes: QuantRange,
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
