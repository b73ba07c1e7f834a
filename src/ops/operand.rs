//! Tensors and settings that belong together.

use bitnet_burn_kernels::{FourBitFormat, Groups, QuantRange};
use burn::backend::{
    Backend, ExtensionType,
    tensor::{FloatTensor, IntTensor},
};

/// Codes of one byte of a matrix `[tokens, d_input]`, each `round(x * inverse_scale)`.
#[derive(Debug, Clone, ExtensionType)]
#[extension_type(fusion: cfg(all(feature = "fusion", feature = "cube")))]
pub struct AbsmaxCodes<B: Backend> {
    /// Four codes to a `u32`: see [`code_words_per_row`](bitnet_burn_kernels::packing::code_words_per_row).
    pub words: IntTensor<B>,
    /// `max_code / max(max|x|, 1e-5)` of each token, `[tokens, 1]`.
    pub inverse_scales: FloatTensor<B>,
    /// Number of codes of a token.
    pub d_input: usize,
}

/// Ternary codes, packed along the last dimension.
#[derive(Debug, Clone, ExtensionType)]
#[extension_type(fusion: cfg(all(feature = "fusion", feature = "cube")))]
pub struct PackedTernary<B: Backend> {
    /// Sixteen codes to a `u32`, `[.., ceil(n / 16)]`: see [`packing`](bitnet_burn_kernels::packing).
    pub words: IntTensor<B>,
    /// Factor of the codes of each group.
    pub scales: FloatTensor<B>,
    /// Groups of the codes.
    pub groups: Groups,
}

/// Evenly spaced levels `(code - zero_point) * scale`.
#[derive(Debug, Clone, ExtensionType)]
#[extension_type(fusion: cfg(all(feature = "fusion", feature = "cube")))]
pub struct AffineLevels<B: Backend> {
    /// Distance between neighboring levels, for each group.
    pub scales: FloatTensor<B>,
    /// Code of the value 0, for each group.
    pub zero_points: FloatTensor<B>,
    /// Groups of values that share a scale.
    pub groups: Groups,
    /// The range of codes.
    pub codes: QuantRange,
}

/// Codes of flat values by a [`DynamicMap`](super::DynamicMap), in blocks of 256.
#[derive(Debug, Clone, ExtensionType)]
#[extension_type(fusion: cfg(all(feature = "fusion", feature = "cube")))]
pub struct BlockwiseCodes<B: Backend> {
    /// Four codes to a `u32`, the first in the lowest bits, padded with zeros: `[ceil(n / 4)]`.
    pub words: IntTensor<B>,
    /// Absolute maximum of each block, `[ceil(n / 256)]`.
    pub absmax: FloatTensor<B>,
}

/// Absolute maxima of blocks of values.
#[derive(Debug, Clone, ExtensionType)]
#[extension_type(fusion: cfg(all(feature = "fusion", feature = "cube")))]
pub enum BlockMaxima<B: Backend> {
    /// One for each block, `[blocks]`.
    Plain(FloatTensor<B>),
    /// Codes by [`DynamicMap::Signed`](super::DynamicMap::Signed), to whose values an offset is added.
    Quantized {
        /// Codes of the maxima less the offset.
        #[extension_type]
        codes: BlockwiseCodes<B>,
        /// Mean of the maxima, `[1]`.
        offset: FloatTensor<B>,
    },
}

/// A weight `[d_output, d_input]` of 4 bits.
#[derive(Debug, Clone, ExtensionType)]
#[extension_type(fusion: cfg(all(feature = "fusion", feature = "cube")))]
pub struct FourBitWeight<B: Backend> {
    /// Eight codes to a `u32`, in the layout of the format.
    pub words: IntTensor<B>,
    /// Absolute maximum of each block.
    #[extension_type]
    pub absmax: BlockMaxima<B>,
    /// Codes and size of a block.
    pub format: FourBitFormat,
    /// Numbers of output and input features.
    pub shape: [usize; 2],
}

impl<B: Backend> AffineLevels<B> {
    /// Creates levels with `zero_point = -offset / scale`.
    pub(super) fn with_offsets(
        scales: FloatTensor<B>,
        offsets: FloatTensor<B>,
        groups: Groups,
        codes: QuantRange,
    ) -> Self {
        Self {
            zero_points: B::float_div(B::float_neg(offsets), scales.clone()),
            scales,
            groups,
            codes,
        }
    }
}
