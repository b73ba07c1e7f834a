//! The operations of quantization-aware training, implemented once per backend.
//!
//! [`QatOps`] is a Burn [backend extension](burn::backend::backend_extension): `Dispatch` selects the
//! implementation at run time. Its default methods are chains of Burn operations (`composed`). Flex and
//! CubeCL have their own loops and kernels, Autodiff its own backward steps, and Fusion defers to the
//! backend below. [`TransformerOps`] holds the operations between the quantized projections of a
//! transformer, [`CrossEntropyOps`] its output head with the loss, [`FourBitOps`] those on weights of 4 bits,
//! [`AdapterOps`] those of adapters beside frozen weights; only Flex has its own loops for them.
//!
//! User code calls [`functions`](crate::functions), not these traits.

// Burn deprecates its ndarray backend; this crate supports it as long as Burn includes it.
#![cfg_attr(feature = "ndarray", allow(deprecated))]

mod adamw_step;
mod adapter;
mod autodiff;
mod composed;
mod cross_entropy;
#[cfg(feature = "cube")]
mod cube;
mod device;
#[cfg(feature = "flex")]
mod flex;
mod four_bit;
#[cfg(all(feature = "fusion", feature = "cube"))]
mod fusion;
mod gated_activation;
mod input_gradient;
#[cfg(feature = "ndarray")]
mod ndarray;
mod operand;
mod transformer;

use burn::backend::{
    Backend, FloatDType, Shape, backend_extension,
    tensor::{FloatTensor, IntTensor},
};

pub(crate) use adamw_step::{AdamWStep, FusedAdamWStep};
pub(crate) use adapter::AdapterOps;
pub(crate) use bitnet_burn_kernels::{
    BLOCK, packing,
    reference::{EPSILON, mean_prescale},
};
pub use bitnet_burn_kernels::{
    DynamicMap, FourBitFormat, FourBitType, GradientRule, Groups, QuantRange, Statistic,
};
pub(crate) use cross_entropy::CrossEntropyOps;
pub use cross_entropy::CrossEntropyTerms;
pub use device::{DeviceError, device};
pub(crate) use four_bit::FourBitOps;
pub use gated_activation::GatedActivation;
pub use input_gradient::InputGradient;
pub(crate) use operand::{
    AbsmaxCodes, AffineLevels, BlockMaxima, BlockwiseCodes, FourBitWeight, PackedTernary,
};
pub(crate) use transformer::TransformerOps;

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

    /// Returns `Q(x) = clamp(round(x * s), -max_code - 1, max_code) / s` and the inverse scales
    /// `s = max_code / max(max|x|, 1e-5)`.
    ///
    /// Under autodiff the gradient of `Q(x)` passes to `x` unchanged; `s` is a constant.
    #[fusion(meta = |x, groups, _max_code| fusion::values_and_scales(x, groups))]
    fn absmax_fake_quant(
        x: FloatTensor<Self>,
        groups: Groups,
        max_code: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::absmax_fake_quant::<Self>(x, groups, max_code)
    }

    /// Returns the statistic of every group, such as `gamma = max(mean|W|, 1e-5)`. No gradient.
    #[fusion(dtype = burn::backend::DType::F32, shape = Shape::new(groups.scale_shape()))]
    fn group_statistic(
        values: FloatTensor<Self>,
        groups: Groups,
        statistic: Statistic,
    ) -> FloatTensor<Self> {
        composed::group_statistic::<Self>(values, groups, statistic)
    }

    /// Packs the ternary codes of `weight` for the given scales along the last dimension, in the layout of
    /// [`packing`]: `[.., n]` to `u32` `[.., ceil(n / 16)]`.
    #[fusion(dtype = burn::backend::DType::U32, shape = packed_shape(weight))]
    fn ternary_pack(
        weight: FloatTensor<Self>,
        scales: FloatTensor<Self>,
        groups: Groups,
    ) -> IntTensor<Self> {
        composed::ternary_pack::<Self>(weight, scales, groups)
    }

    /// Unpacks `code * scale` as a tensor of the given shape and type, the inverse of
    /// [`ternary_pack`](QatOps::ternary_pack).
    #[fusion(dtype = (*dtype).into(), shape = shape.clone())]
    fn ternary_unpack(
        #[extension_type] packed: PackedTernary<Self>,
        shape: Shape,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        composed::ternary_unpack::<Self>(packed, shape, dtype)
    }

    /// Returns the codes `clamp(round(x * s), -max_code - 1, max_code)` of a matrix `[tokens, d_input]`, and
    /// `s = max_code / max(max|x|, 1e-5)` of each token. No gradient.
    #[fusion(meta = fusion::absmax_codes)]
    fn absmax_quantize(x: FloatTensor<Self>, max_code: f32) -> AbsmaxCodes<Self> {
        composed::absmax_quantize::<Self>(x, max_code)
    }

    /// Returns `code / s` of the codes, `[tokens, d_input]` of the given type: the values of
    /// [`absmax_fake_quant`](QatOps::absmax_fake_quant) per token.
    #[fusion(dtype = (*dtype).into(), shape = Shape::new([codes.words.shape[0], codes.d_input]))]
    fn absmax_dequantize(
        #[extension_type] codes: AbsmaxCodes<Self>,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        composed::absmax_dequantize::<Self>(codes, dtype)
    }

    /// Computes `Y = X Q(W) + b` with the codes of `X` and a latent weight `[d_input, d_output]`; `bias` is
    /// `[d_output]`, or `[0]` for none, of the type of the output. No gradient.
    #[fusion(dtype = bias, shape = Shape::new([x.words.shape[0], weight[1]]))]
    fn ternary_linear(
        #[extension_type] x: AbsmaxCodes<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: Groups,
    ) -> FloatTensor<Self> {
        composed::ternary_linear::<Self>(x, weight, bias, groups)
    }

    /// Computes `Y = X W + b` with the codes of `X` and a packed weight `[d_output, d_input]`. The bias has
    /// the type of the output. No gradient.
    #[fusion(dtype = bias, shape = Shape::new([x.words.shape[0], weight.words.shape[0]]))]
    fn packed_linear(
        #[extension_type] x: AbsmaxCodes<Self>,
        #[extension_type] weight: PackedTernary<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        composed::packed_linear::<Self>(x, weight, bias)
    }

    /// Computes `Y = Q(X) Q(W) + b`: absmax codes per token, ternary weights.
    ///
    /// Under autodiff `dX = dY Q(W)^T`, `dW = Q(X)^T dY` and `db` is the sum of `dY` over tokens. The codes
    /// of `X` are saved for backward, 8 bits each. With [`InputGradient::Int8`] `dX = Q(dY) Q(W)^T`.
    #[fusion(default)]
    fn bit_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: Groups,
        max_code: f32,
        _input_gradient: InputGradient,
    ) -> FloatTensor<Self> {
        Self::ternary_linear(Self::absmax_quantize(x, max_code), weight, bias, groups)
    }

    /// Computes `Y = Q(X) W + b`: absmax codes per token, a packed weight as in
    /// [`packed_linear`](QatOps::packed_linear).
    ///
    /// Under autodiff `dX = dY W` and `db` is the sum of `dY` over tokens; the weight is a constant. Nothing
    /// else is saved for backward.
    #[fusion(default)]
    fn packed_bit_linear(
        x: FloatTensor<Self>,
        #[extension_type] weight: PackedTernary<Self>,
        bias: FloatTensor<Self>,
        max_code: f32,
    ) -> FloatTensor<Self> {
        Self::packed_linear(Self::absmax_quantize(x, max_code), weight, bias)
    }

    /// Applies the orthonormal Walsh-Hadamard transform to each block of `block` neighboring values of the
    /// last dimension; `block` is a power of two that divides it.
    ///
    /// Under autodiff the gradient of `x` is the transform of the gradient.
    #[fusion(dtype = x, shape = x)]
    fn hadamard_transform(x: FloatTensor<Self>, block: usize) -> FloatTensor<Self> {
        composed::hadamard_transform::<Self>(x, block)
    }

    /// Computes `Q(x) = (clamp(round(x / scale + zero_point), min, max) - zero_point) * scale`.
    ///
    /// Under autodiff the gradient of `Q(x)` passes to `x` unchanged; the levels are constants.
    #[fusion(dtype = x, shape = x)]
    fn affine_fake_quant(
        x: FloatTensor<Self>,
        #[extension_type] levels: AffineLevels<Self>,
    ) -> FloatTensor<Self> {
        composed::affine_fake_quant::<Self>(x, levels)
    }

    /// Computes `grad * factor(x / scale + zero_point)` by a rule.
    #[fusion(dtype = x, shape = x)]
    fn affine_gradient(
        x: FloatTensor<Self>,
        grads: FloatTensor<Self>,
        #[extension_type] levels: AffineLevels<Self>,
        rule: GradientRule,
    ) -> FloatTensor<Self> {
        composed::affine_gradient::<Self>(x, grads, levels, rule)
    }

    /// Returns `quantized` as a function of `x`, whose gradient passes to `x` multiplied by the factor of
    /// `rule`, or unchanged without a rule.
    ///
    /// Without autodiff this returns `quantized`.
    #[fusion(default)]
    fn straight_through(
        _x: FloatTensor<Self>,
        quantized: FloatTensor<Self>,
        #[extension_type] _levels: AffineLevels<Self>,
        _rule: Option<GradientRule>,
    ) -> FloatTensor<Self> {
        quantized
    }

    /// Applies [`affine_fake_quant`](QatOps::affine_fake_quant) with `zero_point = -offset / scale`.
    ///
    /// Under autodiff `x`, `scales` and `offsets` have the gradients of LSQ+, those of the scales
    /// and offsets multiplied by `grad_scale`.
    #[fusion(default)]
    fn learned_step_fake_quant(
        x: FloatTensor<Self>,
        scales: FloatTensor<Self>,
        offsets: FloatTensor<Self>,
        groups: Groups,
        codes: QuantRange,
        _grad_scale: f32,
    ) -> FloatTensor<Self> {
        Self::affine_fake_quant(
            x,
            AffineLevels::with_offsets(scales, offsets, groups, codes),
        )
    }

    /// Returns the codes of flat `f32` values by a map, after division by the absolute maximum of their
    /// block of 256. No gradient.
    #[fusion(meta = fusion::blockwise_codes)]
    fn blockwise_quantize(values: FloatTensor<Self>, map: DynamicMap) -> BlockwiseCodes<Self> {
        composed::blockwise_quantize::<Self>(values, map)
    }

    /// Dequantizes `n` values, the inverse of [`blockwise_quantize`](QatOps::blockwise_quantize).
    #[fusion(dtype = burn::backend::DType::F32, shape = Shape::new([*n]))]
    fn blockwise_dequantize(
        #[extension_type] codes: BlockwiseCodes<Self>,
        map: DynamicMap,
        n: usize,
    ) -> FloatTensor<Self> {
        composed::blockwise_dequantize::<Self>(codes, map, n)
    }

    /// Rounds `f32` values to `bf16`, up or down, each with the probability of its nearness. No gradient.
    #[fusion(dtype = burn::backend::DType::BF16, shape = values)]
    fn stochastic_round(values: FloatTensor<Self>, seed: u32) -> FloatTensor<Self> {
        composed::stochastic_round::<Self>(values, seed)
    }

    /// Applies a step of AdamW with block-wise quantized moments, the first signed, the second unsigned.
    /// Returns the parameter and both moments. No gradient.
    #[fusion(default)]
    fn adamw_8bit(
        param: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        #[extension_type] moment_1: BlockwiseCodes<Self>,
        #[extension_type] moment_2: BlockwiseCodes<Self>,
        step: AdamWStep,
    ) -> (
        FloatTensor<Self>,
        BlockwiseCodes<Self>,
        BlockwiseCodes<Self>,
    ) {
        composed::adamw_8bit::<Self>(param, grad, [moment_1, moment_2], step)
    }

    /// Applies a step of AdamW, bit for bit as Burn's chain of operations where the backend does not fuse it. Returns the
    /// parameter and both moments. No gradient.
    #[fusion(default)]
    fn fused_adamw(
        param: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        moment_1: FloatTensor<Self>,
        moment_2: FloatTensor<Self>,
        step: FusedAdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        composed::fused_adamw::<Self>(param, grad, [moment_1, moment_2], step)
    }
}

/// Returns the shape of the packed form of a tensor of the given shape.
fn packed_shape(shape: &Shape) -> Shape {
    let mut packed = shape.clone();
    let last = packed.num_dims() - 1;
    packed[last] = packing::words_per_row(packed[last]);
    packed
}
