use burn::backend::{
    FloatDType, Shape, backend_extension,
    tensor::{FloatTensor, IntTensor},
};

use super::{FourBitFormat, FourBitWeight, QatOps, composed};

/// Operations on weights of 4 bits in bitsandbytes' format, on backend primitives.
///
/// Codes are the words of [`FourBitFormat`]. The absolute maxima are `f32` values, one for each block.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cube"),
    Autodiff,
    Fusion: cfg(all(feature = "fusion", feature = "cube")),
)]
pub trait FourBitOps: QatOps {
    /// Returns the words of the codes of values, row-major, `[ceil(n / 8)]`, and the absolute maximum of each
    /// block, `[ceil(n / block_size)]`. No gradient.
    #[fusion(default)]
    fn four_bit_quantize(
        values: FloatTensor<Self>,
        format: FourBitFormat,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        composed::four_bit_quantize::<Self>(values, format)
    }

    /// Returns `value(code) * absmax` as a tensor of the given shape and type, the inverse of
    /// [`four_bit_quantize`](FourBitOps::four_bit_quantize). No gradient.
    #[fusion(default)]
    fn four_bit_dequantize(
        words: IntTensor<Self>,
        absmax: FloatTensor<Self>,
        format: FourBitFormat,
        shape: Shape,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        composed::four_bit_dequantize::<Self>(words, absmax, format, shape, dtype)
    }

    /// Computes `Y = X W^T` of `x` `[tokens, d_input]` with the codes of `W`, whose values are rounded to the
    /// type of `x`.
    ///
    /// Under autodiff `dX = dY W`; the weight is a constant, and nothing else is saved for backward.
    #[fusion(default)]
    fn four_bit_linear(
        x: FloatTensor<Self>,
        #[extension_type] weight: FourBitWeight<Self>,
    ) -> FloatTensor<Self> {
        composed::FourBitRows::<Self>::new(weight).product(x)
    }

    /// Returns the gradient `dX = dY W` of [`four_bit_linear`](FourBitOps::four_bit_linear). Not
    /// differentiable.
    #[fusion(default)]
    fn four_bit_linear_gradient(
        grads: FloatTensor<Self>,
        #[extension_type] weight: FourBitWeight<Self>,
    ) -> FloatTensor<Self> {
        composed::FourBitRows::<Self>::new(weight).input_gradient(grads)
    }
}
