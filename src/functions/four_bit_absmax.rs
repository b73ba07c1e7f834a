use burn::{
    backend::Dispatch,
    tensor::{DType, Int, Tensor},
};

use super::{BlockwiseMoment, blockwise_dequantize, blockwise_quantize};
use crate::{
    base::cascade_sum::mean,
    ops::{BLOCK, BlockMaxima, DynamicMap},
};

/// Absolute maxima of the blocks of a [`FourBitTensor`](super::FourBitTensor).
#[allow(
    clippy::large_enum_variant,
    reason = "tensors are handles, and few are held"
)]
#[derive(Debug, Clone)]
pub enum FourBitAbsmax {
    /// One for each block, `[blocks]`, f32.
    Plain(Tensor<1>),
    /// Double quantization: `map[code] * absmax + offset`, in blocks of 256 of them with the
    /// [signed map](DynamicMap::Signed).
    DoubleQuantized {
        /// Codes, `[ceil(blocks / 4)]` words of u32, as of [`blockwise_quantize`].
        codes: Tensor<1, Int>,
        /// Absolute maximum of each 256 of the maxima without their mean, `[ceil(blocks / 256)]`, f32.
        absmax: Tensor<1>,
        /// Mean of the maxima, `[1]`, f32.
        offset: Tensor<1>,
    },
}

impl FourBitAbsmax {
    /// Quantizes the maxima to 8 bits, as bitsandbytes with `compress_statistics`; what is quantized already
    /// stays as it is.
    ///
    /// ```text
    /// offset = mean(absmax)
    /// codes, absmax_2 = blockwise_quantize(absmax - offset), in blocks of 256
    /// ```
    ///
    /// The mean is computed on the host, in PyTorch's order of additions on one thread, so that it is the
    /// same to the last bit on every device. A NaN or infinity among the maxima makes all of them non-finite.
    ///
    /// Source: [QLoRA](https://arxiv.org/abs/2305.14314), section 3, "Double Quantization".
    ///
    /// # Panics
    ///
    /// If the maxima are not f32, or cannot be read back from the device.
    #[track_caller]
    #[must_use]
    pub fn double_quantized(self) -> Self {
        let Self::Plain(absmax) = self else {
            return self;
        };
        let values = absmax.to_data().try_to_vec::<f32>();
        let offset = match values.expect("absolute maxima are f32").as_slice() {
            [] => 0.0,
            values => mean(values),
        };
        let offset = Tensor::<1>::from_data([offset], (&absmax.device(), DType::F32));
        let centered = absmax - offset.clone();
        let (codes, absmax) = blockwise_quantize(centered, DynamicMap::Signed);
        Self::DoubleQuantized {
            codes,
            absmax,
            offset,
        }
    }

    /// Returns the absolute maximum of each of a number of blocks, `[blocks]`.
    ///
    /// # Panics
    ///
    /// If there are not as many.
    #[track_caller]
    pub fn values(&self, blocks: usize) -> Tensor<1> {
        match self {
            Self::Plain(absmax) => absmax.clone(),
            Self::DoubleQuantized {
                codes,
                absmax,
                offset,
            } => {
                let (codes, absmax) = (codes.clone(), absmax.clone());
                blockwise_dequantize(codes, absmax, DynamicMap::Signed, blocks) + offset.clone()
            }
        }
    }

    /// Panics unless these are the maxima of a number of blocks.
    #[track_caller]
    pub(super) fn assert_blocks(&self, blocks: usize) {
        let (found, expected, dtypes) = match self {
            Self::Plain(absmax) => (
                [absmax.dims()[0], 0, 0],
                [blocks, 0, 0],
                [absmax.dtype(), DType::U32, DType::F32],
            ),
            Self::DoubleQuantized {
                codes,
                absmax,
                offset,
            } => (
                [absmax.dims()[0], codes.dims()[0], offset.dims()[0]],
                [blocks.div_ceil(BLOCK), blocks.div_ceil(4), 1],
                [absmax.dtype(), codes.dtype(), offset.dtype()],
            ),
        };
        assert!(
            found == expected && dtypes == [DType::F32, DType::U32, DType::F32],
            "{blocks} blocks have {expected:?} f32 absolute maxima, u32 words of their codes and f32 \
             offsets, got {found:?} of {:?}, {:?} and {:?}",
            dtypes[0],
            dtypes[1],
            dtypes[2]
        );
    }
}

impl From<FourBitAbsmax> for BlockMaxima<Dispatch> {
    fn from(absmax: FourBitAbsmax) -> Self {
        match absmax {
            FourBitAbsmax::Plain(absmax) => Self::Plain(absmax.into_dispatch()),
            FourBitAbsmax::DoubleQuantized {
                codes,
                absmax,
                offset,
            } => Self::Quantized {
                codes: BlockwiseMoment { codes, absmax }.into(),
                offset: offset.into_dispatch(),
            },
        }
    }
}
