//! Products with a matrix of 4-bit codes, some rows at a time.

use std::ops::Range;

use bitnet_burn_kernels::{DynamicMap, FourBitFormat};
use burn::backend::{
    Backend, FloatDType, Shape, TensorMetadata,
    tensor::{FloatTensor, IntTensor},
};

use crate::ops::{BlockMaxima, FourBitOps, FourBitWeight, QatOps};

/// Values of a matrix that are dequantized at a time, so that a large one is never dequantized whole.
const DEQUANTIZED: usize = 1 << 20;

/// Returns the absolute maximum of each block, dequantized if it has a code.
pub(in crate::ops) fn block_maxima<B: QatOps>(
    absmax: BlockMaxima<B>,
    blocks: usize,
) -> FloatTensor<B> {
    match absmax {
        BlockMaxima::Plain(absmax) => absmax,
        BlockMaxima::Quantized { codes, offset } => {
            let values = B::blockwise_dequantize(codes, DynamicMap::Signed, blocks);
            B::float_add(values, offset)
        }
    }
}

/// A matrix `[d_output, d_input]` of codes.
pub(in crate::ops) struct FourBitRows<B: Backend> {
    words: IntTensor<B>,
    absmax: FloatTensor<B>,
    format: FourBitFormat,
    shape: [usize; 2],
}

impl<B: FourBitOps> FourBitRows<B> {
    /// Creates a matrix of the codes of a weight, whose absolute maxima are dequantized.
    pub fn new(weight: FourBitWeight<B>) -> Self {
        let FourBitWeight {
            words,
            absmax,
            format,
            shape,
        } = weight;
        let blocks = format.num_blocks(shape.iter().product());
        Self {
            words,
            absmax: block_maxima::<B>(absmax, blocks),
            format,
            shape,
        }
    }

    /// Computes `Y = X W^T`.
    pub fn product(&self, x: FloatTensor<B>) -> FloatTensor<B> {
        let dtype = x.dtype().into();
        let parts = self.parts().map(|rows| {
            let rows = self.dequantized(rows, dtype);
            B::float_matmul(x.clone(), B::float_transpose(rows))
        });
        let mut parts: Vec<_> = parts.collect();
        match parts.len() {
            1 => parts.remove(0),
            _ => B::float_cat(parts, 1),
        }
    }

    /// Computes `dX = dY W`.
    pub fn input_gradient(&self, grads: FloatTensor<B>) -> FloatTensor<B> {
        let (tokens, dtype) = (grads.shape()[0], grads.dtype().into());
        let parts = self.parts().map(|rows| {
            let of_rows = [(0..tokens).into(), rows.clone().into()];
            let grads = B::float_slice(grads.clone(), &of_rows);
            B::float_matmul(grads, self.dequantized(rows, dtype))
        });
        parts
            .reduce(B::float_add)
            .expect("a weight has a row or more")
    }

    /// Returns the ranges of rows that are dequantized at a time.
    fn parts(&self) -> impl Iterator<Item = Range<usize>> + use<B> {
        let [d_output, d_input] = self.shape;
        let at_a_time = (DEQUANTIZED / d_input).max(1);
        let first = (0..d_output).step_by(at_a_time);
        first.map(move |first| first..d_output.min(first + at_a_time))
    }

    /// Returns rows of values. They are cut from whole blocks, which may cross rows.
    fn dequantized(&self, rows: Range<usize>, dtype: FloatDType) -> FloatTensor<B> {
        let [d_output, d_input] = self.shape;
        let shape = Shape::new([rows.len(), d_input]);
        let block_size = self.format.block_size;
        let values = rows.start * d_input..rows.end * d_input;
        let blocks = values.start / block_size..values.end.div_ceil(block_size);
        let covered = blocks.start * block_size..(d_output * d_input).min(blocks.end * block_size);
        let words = covered.start / 8..FourBitFormat::num_words(covered.end);
        let words = B::int_slice(self.words.clone(), &[words.into()]);
        let absmax = B::float_slice(self.absmax.clone(), &[blocks.into()]);
        let flat = Shape::new([covered.len()]);
        let covering = B::four_bit_dequantize(words, absmax, self.format, flat, dtype);
        let of_rows = values.start - covered.start..values.end - covered.start;
        B::float_reshape(B::float_slice(covering, &[of_rows.into()]), shape)
    }
}
