//! The operations of quantization-aware training, implemented once per backend.
//!
//! [`QatOps`] is a Burn [backend extension](burn::backend::backend_extension): `Dispatch` selects the
//! implementation at run time. Its default methods are chains of Burn operations (`composed`). Flex and
//! CubeCL have their own loops and kernels, Autodiff its own backward steps, and Fusion defers to the
//! backend below. [`TransformerOps`] holds the operations between the quantized projections of a
//! transformer; only Flex has its own loops for them.
//!
//! User code calls [`functions`](crate::functions), not these traits.

// Burn deprecates its ndarray backend; this crate supports it as long as Burn includes it.
#![cfg_attr(feature = "ndarray", allow(deprecated))]

mod adamw_step;
mod autodiff;
mod composed;
#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
#[cfg(all(feature = "fusion", feature = "cube"))]
mod fusion;
mod gated_activation;
#[cfg(feature = "ndarray")]
mod ndarray;
mod transformer;

use burn::backend::{
    Backend, FloatDType, Shape, TensorMetadata, backend_extension,
    tensor::{FloatTensor, IntTensor},
};

pub use adamw_step::AdamWStep;
pub use bitnet_burn_kernels::{CodeRange, DynamicMap, GradientRule, Groups, Statistic};
pub use gated_activation::GatedActivation;
pub use transformer::TransformerOps;

/// Operations of quantization-aware training on backend primitives.
///
/// Scales are `f32` tensors of shape `[outer, inner]` for any type of the values; [`Groups`] defines the
/// values that share one. Statistics are computed in `f32`. A NaN or infinity in a group makes every
/// result of that group non-finite.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cube"),
    Autodiff,
    Fusion: cfg(all(feature = "fusion", feature = "cube")),
)]
pub trait QatOps: Backend {
    /// Returns `Q(W) = clamp(round(W / gamma), -1, 1) * gamma` and `gamma = max(mean|W|, 1e-5)`.
    ///
    /// Under autodiff the gradient of `Q(W)` passes to `W` unchanged; `gamma` is a constant.
    #[fusion(meta = fusion::values_and_scales)]
    fn ternary_fake_quant(
        weight: FloatTensor<Self>,
        groups: Groups,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::ternary_fake_quant::<Self>(weight, groups)
    }

    /// Returns `Q(x) = clamp(round(x * s), -max_code - 1, max_code) / s` and
    /// `s = max_code / max(max|x|, 1e-5)`.
    ///
    /// Under autodiff the gradient of `Q(x)` passes to `x` unchanged; `s` is a constant.
    #[fusion(meta = fusion::values_and_scales_of_bits)]
    fn absmax_fake_quant(
        x: FloatTensor<Self>,
        groups: Groups,
        max_code: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::absmax_fake_quant::<Self>(x, groups, max_code)
    }

    /// Returns the statistic of every group, such as `gamma = max(mean|W|, 1e-5)`. No gradient.
    #[fusion(meta = fusion::scales_of)]
    fn group_statistic(
        values: FloatTensor<Self>,
        groups: Groups,
        statistic: Statistic,
    ) -> FloatTensor<Self> {
        composed::group_statistic::<Self>(values, groups, statistic)
    }

    /// Packs the ternary codes of `weight` for the given scales along the last dimension, in the layout of
    /// [`packing`](bitnet_burn_kernels::packing): `[.., n]` to `u32` `[.., ceil(n / 16)]`.
    #[fusion(meta = fusion::packed_words)]
    fn ternary_pack(
        weight: FloatTensor<Self>,
        scales: FloatTensor<Self>,
        groups: Groups,
    ) -> IntTensor<Self> {
        composed::ternary_pack::<Self>(weight, scales, groups)
    }

    /// Unpacks `code * scale` as a tensor of the given shape and type, the inverse of
    /// [`ternary_pack`](QatOps::ternary_pack).
    #[fusion(meta = fusion::unpacked_values)]
    fn ternary_unpack(
        packed: IntTensor<Self>,
        scales: FloatTensor<Self>,
        groups: Groups,
        shape: Shape,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        composed::ternary_unpack::<Self>(packed, scales, groups, shape, dtype)
    }

    /// Returns the codes `clamp(round(x * s), -max_code - 1, max_code)` of a matrix `[tokens, d_input]` and
    /// `s = max_code / max(max|x|, 1e-5)` of each token, `[tokens, 1]`.
    ///
    /// Four codes to a `u32`: see
    /// [`code_words_per_row`](bitnet_burn_kernels::packing::code_words_per_row). No gradient.
    #[fusion(meta = fusion::codes_and_scales)]
    fn absmax_quantize(
        x: FloatTensor<Self>,
        max_code: f32,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        composed::absmax_quantize::<Self>(x, max_code)
    }

    /// Returns `code / s` of the codes, `[tokens, d_input]` of the given type: the values of
    /// [`absmax_fake_quant`](QatOps::absmax_fake_quant) per token.
    #[fusion(meta = fusion::dequantized_values)]
    fn absmax_dequantize(
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        d_input: usize,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        composed::absmax_dequantize::<Self>(codes, scales, d_input, dtype)
    }

    /// Computes `Y = X Q(W) + b` with the codes and scales of `X` and a latent weight `[d_input, d_output]`;
    /// `bias` is `[d_output]`, or `[0]` for none, of the type of the output. No gradient.
    #[fusion(meta = fusion::ternary_outputs)]
    fn ternary_linear(
        codes: IntTensor<Self>,
        code_scales: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: Groups,
    ) -> FloatTensor<Self> {
        composed::ternary_linear::<Self>(codes, code_scales, weight, bias, groups)
    }

    /// Computes `Y = X W + b` with a packed weight: codes `[d_output, ceil(d_input / 16)]` and the scales of
    /// the groups of `[d_output, d_input]`. The bias has the type of the output. No gradient.
    #[fusion(meta = fusion::packed_outputs)]
    fn packed_linear(
        codes: IntTensor<Self>,
        code_scales: FloatTensor<Self>,
        packed: IntTensor<Self>,
        weight_scales: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: Groups,
        d_input: usize,
    ) -> FloatTensor<Self> {
        composed::packed_linear::<Self>(
            codes,
            code_scales,
            packed,
            weight_scales,
            bias,
            groups,
            d_input,
        )
    }

    /// Computes `Y = Q(X) Q(W) + b`: absmax codes per token, ternary weights.
    ///
    /// Under autodiff `dX = dY Q(W)^T`, `dW = Q(X)^T dY` and `db` is the sum of `dY` over tokens. The codes
    /// of `X` are saved for backward, 8 bits each.
    #[fusion(default)]
    fn bit_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: Groups,
        max_code: f32,
    ) -> FloatTensor<Self> {
        let (codes, scales) = Self::absmax_quantize(x, max_code);
        Self::ternary_linear(codes, scales, weight, bias, groups)
    }

    /// Computes `Y = Q(X) W + b`: absmax codes per token, a packed weight as in
    /// [`packed_linear`](QatOps::packed_linear).
    ///
    /// Under autodiff `dX = dY W` and `db` is the sum of `dY` over tokens; the weight is a constant. Nothing
    /// else is saved for backward.
    #[fusion(default)]
    fn packed_bit_linear(
        x: FloatTensor<Self>,
        packed: IntTensor<Self>,
        weight_scales: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: Groups,
        max_code: f32,
    ) -> FloatTensor<Self> {
        let d_input = x.shape()[1];
        let (codes, scales) = Self::absmax_quantize(x, max_code);
        Self::packed_linear(codes, scales, packed, weight_scales, bias, groups, d_input)
    }

    /// Applies the orthonormal Walsh-Hadamard transform to each block of `block` neighboring values of the
    /// last dimension; `block` is a power of two that divides it.
    ///
    /// Under autodiff the gradient of `x` is the transform of the gradient.
    #[fusion(dtype = x, shape = x)]
    fn hadamard_transform(x: FloatTensor<Self>, block: usize) -> FloatTensor<Self> {
        composed::hadamard_transform::<Self>(x, block)
    }

    /// Computes `Q(x) = (clamp(round(x / step + zero_point), min, max) - zero_point) * step`, with steps and
    /// zero points of the shape of scales.
    ///
    /// Under autodiff the gradient of `Q(x)` passes to `x` unchanged; the others are constants.
    #[fusion(dtype = x, shape = x)]
    fn affine_fake_quant(
        x: FloatTensor<Self>,
        steps: FloatTensor<Self>,
        zero_points: FloatTensor<Self>,
        groups: Groups,
        codes: CodeRange,
    ) -> FloatTensor<Self> {
        composed::affine_fake_quant::<Self>(x, steps, zero_points, groups, codes)
    }

    /// Computes `grad * factor(x / step + zero_point)` by a rule. No gradient.
    #[fusion(dtype = x, shape = x)]
    fn affine_gradient(
        x: FloatTensor<Self>,
        grads: FloatTensor<Self>,
        steps: FloatTensor<Self>,
        zero_points: FloatTensor<Self>,
        groups: Groups,
        codes: CodeRange,
        rule: GradientRule,
    ) -> FloatTensor<Self> {
        composed::affine_gradient::<Self>(x, grads, steps, zero_points, groups, codes, rule)
    }

    /// Returns `quantized` as a function of `x`, whose gradient passes to `x` multiplied by the factor of
    /// `rule`, or unchanged without a rule.
    ///
    /// Without autodiff this returns `quantized`.
    #[fusion(default)]
    fn straight_through(
        _x: FloatTensor<Self>,
        quantized: FloatTensor<Self>,
        _steps: FloatTensor<Self>,
        _zero_points: FloatTensor<Self>,
        _groups: Groups,
        _codes: CodeRange,
        _rule: Option<GradientRule>,
    ) -> FloatTensor<Self> {
        quantized
    }

    /// Applies [`affine_fake_quant`](QatOps::affine_fake_quant) with `zero_point = -offset / step`.
    ///
    /// Under autodiff `x`, `steps` and `offsets` have the gradients of LSQ+, those of the steps
    /// and offsets multiplied by `grad_scale`.
    #[fusion(default)]
    fn learned_step_fake_quant(
        x: FloatTensor<Self>,
        steps: FloatTensor<Self>,
        offsets: FloatTensor<Self>,
        groups: Groups,
        codes: CodeRange,
        _grad_scale: f32,
    ) -> FloatTensor<Self> {
        let zero_points = zero_points_of::<Self>(&steps, offsets);
        Self::affine_fake_quant(x, steps, zero_points, groups, codes)
    }

    /// Returns the codes of flat `f32` values by a map, after division by the absolute maximum of their
    /// block of 256: `[n]` to `u32` `[ceil(n / 4)]`, four codes in each, the first in the lowest bits, padded
    /// with zeros; and the absolute maxima `[ceil(n / 256)]`. No gradient.
    #[fusion(meta = fusion::blockwise_codes)]
    fn blockwise_quantize(
        values: FloatTensor<Self>,
        map: DynamicMap,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        composed::blockwise_quantize::<Self>(values, map)
    }

    /// Dequantizes `n` values, the inverse of [`blockwise_quantize`](QatOps::blockwise_quantize).
    #[fusion(meta = fusion::blockwise_values)]
    fn blockwise_dequantize(
        codes: IntTensor<Self>,
        absmax: FloatTensor<Self>,
        map: DynamicMap,
        n: usize,
    ) -> FloatTensor<Self> {
        composed::blockwise_dequantize::<Self>(codes, absmax, map, n)
    }

    /// Rounds `f32` values to `bf16`, up or down, each with the probability of its nearness. No gradient.
    #[fusion(meta = fusion::bf16_values)]
    fn stochastic_round(values: FloatTensor<Self>, seed: u32) -> FloatTensor<Self> {
        composed::stochastic_round::<Self>(values, seed)
    }

    /// Applies a step of AdamW with block-wise quantized moments, the first signed, the second unsigned.
    /// Returns the parameter, and codes and absolute maxima of both moments. No gradient.
    #[fusion(default)]
    #[allow(clippy::type_complexity)]
    fn adamw_8bit(
        param: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        codes_1: IntTensor<Self>,
        absmax_1: FloatTensor<Self>,
        codes_2: IntTensor<Self>,
        absmax_2: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (
        FloatTensor<Self>,
        IntTensor<Self>,
        FloatTensor<Self>,
        IntTensor<Self>,
        FloatTensor<Self>,
    ) {
        composed::adamw_8bit::<Self>(param, grad, codes_1, absmax_1, codes_2, absmax_2, step)
    }
}

/// Returns `-offset / step`.
fn zero_points_of<B: Backend>(steps: &FloatTensor<B>, offsets: FloatTensor<B>) -> FloatTensor<B> {
    B::float_div(B::float_neg(offsets), steps.clone())
}

/// Returns the shape of the packed form of a tensor of the given shape.
pub(crate) fn packed_shape(shape: &Shape) -> Shape {
    let mut packed = shape.clone();
    let last = packed.num_dims() - 1;
    packed[last] = bitnet_burn_kernels::packing::words_per_row(packed[last]);
    packed
}
