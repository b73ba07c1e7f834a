//! Weights of 4 bits.

mod codes;

use bitnet_burn_kernels::FourBitFormat;
use burn::backend::{
    DType, Flex, FloatDType, Shape, TensorMetadata,
    tensor::{FloatTensor, IntTensor},
};
use burn_flex::FlexTensor;
use half::{bf16, f16};

use codes::Decoder;

use super::{
    row_panels::{RowPanels, product, product_transposed},
    values::{Values, from_values, tensor},
};
use crate::ops::{FourBitOps, FourBitWeight, composed};

impl FourBitOps for Flex {
    fn four_bit_quantize(
        values: FloatTensor<Self>,
        format: FourBitFormat,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        let (words, absmax) = codes::quantize(&Values::of(&values), format);
        let [words_shape, absmax_shape] = [words.len(), absmax.len()].map(|n| Shape::new([n]));
        (tensor(words, words_shape), tensor(absmax, absmax_shape))
    }

    fn four_bit_dequantize(
        words: IntTensor<Self>,
        absmax: FloatTensor<Self>,
        format: FourBitFormat,
        shape: Shape,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        let words = words.to_contiguous();
        let absmax = Values::of(&absmax);
        let decoder = Decoder::new(words.storage::<u32>(), &absmax, format);
        let values = codes::dequantize(&decoder, shape.num_elements());
        from_values(values, shape, dtype.into())
    }

    fn four_bit_linear(x: FloatTensor<Self>, weight: FourBitWeight<Self>) -> FloatTensor<Self> {
        by_weight(&x, weight, |x, weight| product_transposed(x, weight))
    }

    fn four_bit_linear_gradient(
        grads: FloatTensor<Self>,
        weight: FourBitWeight<Self>,
    ) -> FloatTensor<Self> {
        by_weight(&grads, weight, |grads, weight| product(grads, weight))
    }
}

/// A matrix `[d_output, d_input]` of codes, whose values are rounded to a type.
struct Weight<'a> {
    values: Decoder<'a>,
    shape: [usize; 2],
    dtype: DType,
}

impl RowPanels for Weight<'_> {
    fn shape(&self) -> [usize; 2] {
        self.shape
    }

    fn write_rows(&self, row: usize, panel: &mut [f32]) {
        let [_, d_input] = self.shape;
        self.values.decode(row * d_input, panel);
        match self.dtype {
            DType::F16 => panel
                .iter_mut()
                .for_each(|v| *v = f16::from_f32(*v).to_f32()),
            DType::BF16 => panel
                .iter_mut()
                .for_each(|v| *v = bf16::from_f32(*v).to_f32()),
            _ => (),
        }
    }
}

/// Returns the product of an operand with a weight whose values are rounded to the type of the operand.
fn by_weight(
    operand: &FlexTensor,
    weight: FourBitWeight<Flex>,
    product: fn(&[f32], &Weight<'_>) -> Vec<f32>,
) -> FlexTensor {
    let FourBitWeight { format, shape, .. } = weight;
    let words = weight.words.to_contiguous();
    let blocks = format.num_blocks(shape.iter().product());
    let absmax = composed::block_maxima::<Flex>(weight.absmax, blocks);
    let absmax = Values::of(&absmax);
    let weight = Weight {
        values: Decoder::new(words.storage::<u32>(), &absmax, format),
        shape,
        dtype: operand.dtype(),
    };
    let values = product(&Values::of(operand), &weight);
    let tokens = operand.shape()[0];
    let shape = Shape::new([tokens, values.len() / tokens]);
    from_values(values, shape, operand.dtype())
}
