//! Weights of 4 bits.

use bitnet_burn_kernels::{FourBitFormat, kernels};
use burn::backend::{
    DType, FloatDType, Shape, TensorMetadata,
    cubecl::dtype_to_elem_type,
    tensor::{FloatTensor, IntTensor},
};
use burn_cubecl::{CubeBackend, kernel::into_contiguous};

use super::{SMALL_BATCH, allocation::empty};
use crate::ops::{FourBitOps, FourBitWeight, composed};

impl FourBitOps for CubeBackend {
    fn four_bit_quantize(
        values: FloatTensor<Self>,
        format: FourBitFormat,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        let values = into_contiguous(values);
        let n = values.shape().num_elements();
        let words = Shape::new([FourBitFormat::num_words(n)]);
        let words = empty(&values, words, DType::U32);
        let absmax = empty(&values, Shape::new([format.num_blocks(n)]), DType::F32);
        kernels::four_bit_quantize(
            &values.client,
            &values.handle,
            &words.handle,
            &absmax.handle,
            n,
            format,
            dtype_to_elem_type(values.dtype),
        );
        (words, absmax)
    }

    fn four_bit_dequantize(
        words: IntTensor<Self>,
        absmax: FloatTensor<Self>,
        format: FourBitFormat,
        shape: Shape,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        let [words, absmax] = [words, absmax].map(into_contiguous);
        let n = shape.num_elements();
        let values = empty(&words, shape, dtype.into());
        kernels::four_bit_dequantize(
            &words.client,
            &words.handle,
            &absmax.handle,
            &values.handle,
            n,
            format,
            dtype_to_elem_type(values.dtype),
        );
        values
    }

    fn four_bit_linear(x: FloatTensor<Self>, weight: FourBitWeight<Self>) -> FloatTensor<Self> {
        let tokens = x.shape()[0];
        let [d_output, d_input] = weight.shape;
        // Rows that start within a word are dequantized, too.
        let has_whole_words = d_input.is_multiple_of(FourBitFormat::CODES_PER_WORD);
        if tokens > SMALL_BATCH || !has_whole_words {
            return composed::FourBitRows::<Self>::new(weight).product(x);
        }
        let FourBitWeight { words, format, .. } = weight;
        let blocks = format.num_blocks(d_output * d_input);
        let absmax = composed::block_maxima::<Self>(weight.absmax, blocks);
        let [x, words, absmax] = [x, words, absmax].map(into_contiguous);
        let output = empty(&x, Shape::new([tokens, d_output]), x.dtype);
        kernels::four_bit_product(
            &x.client,
            &x.handle,
            &words.handle,
            &absmax.handle,
            &output.handle,
            [tokens, d_input, d_output],
            format,
            dtype_to_elem_type(output.dtype),
        );
        output
    }
}
