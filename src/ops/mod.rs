//! The operations of quantization-aware training, implemented once per backend.
//!
//! [`QatOps`] is a Burn [backend extension](burn::backend::backend_extension): `Dispatch` picks
//! the implementation at run time. Its default bodies are chains of Burn operations
//! (`composed`); Flex and CubeCL have their own loops and kernels, Autodiff its own backward
//! steps, and Fusion defers to the backend below.
//!
//! User code calls [`functions`](crate::functions), not this trait.

// Burn deprecates its ndarray backend; this crate supports it as long as Burn has it.
#![cfg_attr(feature = "ndarray", allow(deprecated))]

mod autodiff;
mod composed;
#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
#[cfg(all(feature = "fusion", feature = "cube"))]
mod fusion;
#[cfg(feature = "ndarray")]
mod ndarray;

use burn::backend::{
    Backend, FloatDType, Shape, backend_extension,
    tensor::{FloatTensor, IntTensor},
};

pub use bitnet_burn_kernels::Groups;

/// Operations of quantization-aware training on backend primitives.
///
/// Scales are `f32` tensors of shape `[outer, inner]` whatever the type of the values; see
/// [`Groups`] for which values share one. Statistics are computed in `f32`. A NaN or infinity in
/// a group makes every result of that group non-finite.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cube"),
    Autodiff,
    Fusion: cfg(all(feature = "fusion", feature = "cube")),
)]
pub trait QatOps: Backend {
    /// `Q(W) = clamp(round(W / gamma), -1, 1) * gamma` and `gamma = max(mean|W|, 1e-5)`.
    ///
    /// Under autodiff the gradient of `Q(W)` passes to `W` unchanged; `gamma` is a constant.
    #[fusion(meta = fusion::values_and_scales)]
    fn ternary_fake_quant(
        weight: FloatTensor<Self>,
        groups: Groups,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::ternary_fake_quant::<Self>(weight, groups)
    }

    /// `Q(x) = clamp(round(x * s), -max_code - 1, max_code) / s` and
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

    /// The ternary codes of `weight` for the given scales, packed along the last dimension as
    /// [`packing`](bitnet_burn_kernels::packing) describes: `[.., n]` to `u32` `[.., ceil(n / 16)]`.
    #[fusion(meta = fusion::packed_words)]
    fn ternary_pack(
        weight: FloatTensor<Self>,
        scales: FloatTensor<Self>,
        groups: Groups,
    ) -> IntTensor<Self> {
        composed::ternary_pack::<Self>(weight, scales, groups)
    }

    /// `code * scale` of packed codes, as a tensor of the given shape and type; the inverse of
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

    /// The orthonormal Walsh-Hadamard transform of each block of `block` neighbouring values of
    /// the last dimension, which a power of two `block` divides.
    ///
    /// Under autodiff the gradient of `x` is the transform of the gradient.
    #[fusion(dtype = x, shape = x)]
    fn hadamard_transform(x: FloatTensor<Self>, block: usize) -> FloatTensor<Self> {
        composed::hadamard_transform::<Self>(x, block)
    }
}

/// Shape of the packed form of a tensor of the given shape.
pub(crate) fn packed_shape(shape: &Shape) -> Shape {
    let mut packed = shape.clone();
    let last = packed.num_dims() - 1;
    packed[last] = bitnet_burn_kernels::packing::words_per_row(packed[last]);
    packed
}
