use burn::backend::{
    Autodiff, AutodiffBackend, FloatDType, Shape,
    tensor::{FloatTensor, IntTensor},
};
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;

use super::operation::operation;
use crate::ops::{BlockMaxima, BlockwiseCodes, FourBitFormat, FourBitOps, FourBitWeight};

impl<B: FourBitOps, C: CheckpointStrategy> BlockMaxima<Autodiff<B, C>> {
    fn inner(self) -> BlockMaxima<B> {
        match self {
            Self::Plain(absmax) => BlockMaxima::Plain(absmax.into_primitive()),
            Self::Quantized { codes, offset } => BlockMaxima::Quantized {
                codes: BlockwiseCodes {
                    words: codes.words,
                    absmax: codes.absmax.into_primitive(),
                },
                offset: offset.into_primitive(),
            },
        }
    }
}

impl<B: FourBitOps, C: CheckpointStrategy> FourBitWeight<Autodiff<B, C>> {
    fn inner(self) -> FourBitWeight<B> {
        FourBitWeight {
            words: self.words,
            absmax: self.absmax.inner(),
            format: self.format,
            shape: self.shape,
        }
    }
}

impl<B: FourBitOps, C: CheckpointStrategy> FourBitOps for Autodiff<B, C> {
    fn four_bit_quantize(
        values: FloatTensor<Self>,
        format: FourBitFormat,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        let (words, absmax) = B::four_bit_quantize(values.into_primitive(), format);
        (words, Self::from_inner(absmax))
    }

    fn four_bit_dequantize(
        words: IntTensor<Self>,
        absmax: FloatTensor<Self>,
        format: FourBitFormat,
        shape: Shape,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        let absmax = absmax.into_primitive();
        Self::from_inner(B::four_bit_dequantize(words, absmax, format, shape, dtype))
    }

    fn four_bit_linear(x: FloatTensor<Self>, weight: FourBitWeight<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let weight = weight.inner();
        let y = B::four_bit_linear(x, weight.clone());
        operation::<B, C, _, 1>(
            [node],
            y,
            || weight,
            |weight, grad, [tracked]| [tracked.then(|| B::four_bit_linear_gradient(grad, weight))],
        )
    }

    fn four_bit_linear_gradient(
        grads: FloatTensor<Self>,
        weight: FourBitWeight<Self>,
    ) -> FloatTensor<Self> {
        let grads = grads.into_primitive();
        Self::from_inner(B::four_bit_linear_gradient(grads, weight.inner()))
    }
}
