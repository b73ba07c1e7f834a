use std::ops::Range;

use bitnet_burn_kernels::{
    Groups,
    packing::{code_words_per_row, words_per_row},
};
use burn::backend::{Backend, FloatDType, IntDType, Shape, TensorMetadata, tensor::FloatTensor};

use super::{absmax, bool_dtype, inverse_scales, not_a_number, words};
use crate::ops::{AbsmaxCodes, PackedTernary, QatOps};

pub(in crate::ops) fn absmax_quantize<B: Backend>(
    x: FloatTensor<B>,
    max_code: f32,
) -> AbsmaxCodes<B> {
    let [_, d_input] = x.shape().dims();
    let values = B::float_cast(x, FloatDType::F32);

    let inverse_scales = inverse_scales::<B>(absmax::<B>(values.clone()), max_code);

    let codes = B::float_round(B::float_mul(values, inverse_scales.clone()));
    // A NaN has no code; its scale is NaN instead.
    let uncoded = not_a_number::<B>(&codes);
    let codes = B::float_mask_fill(codes, uncoded, 0.0.into());
    let codes = B::float_clamp(codes, (-max_code - 1.0).into(), max_code.into());
    // Two's complement.
    let negative = B::float_lower_elem(codes.clone(), 0.0.into(), bool_dtype::<B>(&codes));
    let shifted = B::float_add_scalar(codes.clone(), 256.0.into());
    let bytes = B::float_into_int(B::float_mask_where(codes, negative, shifted), IntDType::I64);
    AbsmaxCodes {
        words: words::packed::<B>(bytes, 8, code_words_per_row(d_input), 0),
        inverse_scales,
        d_input,
    }
}

pub(in crate::ops) fn absmax_dequantize<B: Backend>(
    codes: AbsmaxCodes<B>,
    dtype: FloatDType,
) -> FloatTensor<B> {
    let shape = [codes.words.shape()[0], codes.d_input];
    let bytes = words::unpacked::<B>(codes.words, 8, shape);
    let bytes = B::int_into_float(bytes, FloatDType::F32);
    let negative = B::float_greater_elem(bytes.clone(), 127.5.into(), bool_dtype::<B>(&bytes));
    let shifted = B::float_sub_scalar(bytes.clone(), 256.0.into());
    let values = B::float_mask_where(bytes, negative, shifted);
    B::float_cast(B::float_div(values, codes.inverse_scales), dtype)
}

pub(in crate::ops) fn ternary_linear<B: QatOps>(
    x: AbsmaxCodes<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    groups: Groups,
) -> FloatTensor<B> {
    let dtype: FloatDType = bias.dtype().into();
    let x = B::absmax_dequantize(x, dtype);
    let weight = quantized_as::<B>(weight, groups, dtype);
    biased::<B>(B::float_matmul(x, weight), bias)
}

/// Returns `Q(W)` of a latent weight of any type, in the type of a product.
pub(in crate::ops) fn quantized_as<B: QatOps>(
    weight: FloatTensor<B>,
    groups: Groups,
    dtype: FloatDType,
) -> FloatTensor<B> {
    if weight.dtype() == dtype.into() {
        return B::ternary_fake_quant(weight, groups).0;
    }
    // The scale is f32; a smaller type of the latent weight would round it.
    let weight = B::float_cast(weight, FloatDType::F32);
    B::float_cast(B::ternary_fake_quant(weight, groups).0, dtype)
}

pub(in crate::ops) fn packed_linear<B: QatOps>(
    x: AbsmaxCodes<B>,
    weight: PackedTernary<B>,
    bias: FloatTensor<B>,
) -> FloatTensor<B> {
    let dtype: FloatDType = bias.dtype().into();
    let weight = PackedRows::new(weight, x.d_input);
    let x = B::absmax_dequantize(x, dtype);
    let parts = weight.parts().map(|rows| {
        let rows = weight.unpacked(rows, dtype);
        B::float_matmul(x.clone(), B::float_transpose(rows))
    });
    let mut parts: Vec<_> = parts.collect();
    let y = match parts.len() {
        1 => parts.remove(0),
        _ => B::float_cat(parts, 1),
    };
    biased::<B>(y, bias)
}

/// A packed weight `[d_output, d_input]` that is unpacked some rows at a time.
#[derive(Debug, Clone)]
pub(in crate::ops) struct PackedRows<B: Backend> {
    weight: PackedTernary<B>,
    d_input: usize,
}

impl<B: QatOps> PackedRows<B> {
    pub fn new(weight: PackedTernary<B>, d_input: usize) -> Self {
        debug_assert_eq!(weight.words.shape()[1], words_per_row(d_input));
        Self { weight, d_input }
    }

    /// Returns the ranges of rows that are unpacked at a time.
    fn parts(&self) -> impl Iterator<Item = Range<usize>> + use<B> {
        let d_output = self.weight.words.shape()[0].max(1);
        let Groups { outer, inner, .. } = self.weight.groups;
        let in_rows = inner == 1 && (outer == 1 || outer.is_multiple_of(d_output));
        let at_a_time = match in_rows {
            true => (UNPACKED / self.d_input.max(1)).max(1),
            false => d_output,
        };
        let first = (0..d_output).step_by(at_a_time);
        first.map(move |first| first..d_output.min(first + at_a_time))
    }

    fn unpacked(&self, rows: Range<usize>, dtype: FloatDType) -> FloatTensor<B> {
        let shape = Shape::new([rows.len(), self.d_input]);
        B::ternary_unpack(self.rows(rows), shape, dtype)
    }

    /// Returns some rows, of a weight whose groups lie within rows or are all of it.
    fn rows(&self, rows: Range<usize>) -> PackedTernary<B> {
        let PackedTernary {
            words,
            scales,
            groups,
        } = self.weight.clone();
        let [d_output, row_words] = words.shape().dims();
        let n_rows = rows.len();
        if n_rows == d_output {
            return self.weight.clone();
        }
        let words = B::int_slice(words, &[rows.clone().into(), (0..row_words).into()]);
        let (scales, groups) = match groups.outer {
            1 => {
                let size = groups.size / d_output * n_rows;
                (scales, Groups { size, ..groups })
            }
            outer => {
                let of_a_row = outer / d_output;
                let range = rows.start * of_a_row..rows.end * of_a_row;
                let outer = range.len();
                let scales = B::float_slice(scales, &[range.into(), (0..1).into()]);
                (scales, Groups { outer, ..groups })
            }
        };
        PackedTernary {
            words,
            scales,
            groups,
        }
    }

    /// Computes `dX = dY W` of gradients `[tokens, d_output]`.
    pub fn input_gradient(&self, grad: FloatTensor<B>) -> FloatTensor<B> {
        let (tokens, dtype) = (grad.shape()[0], grad.dtype().into());
        let parts = self.parts().map(|rows| {
            let of_rows = [(0..tokens).into(), rows.clone().into()];
            let grad = B::float_slice(grad.clone(), &of_rows);
            B::float_matmul(grad, self.unpacked(rows, dtype))
        });
        parts
            .reduce(B::float_add)
            .expect("a weight has a row or more")
    }
}

/// Values of a packed weight that are unpacked at a time, so that a large one is never unpacked whole.
const UNPACKED: usize = 1 << 20;

/// Returns `y + b`, or `y` without a bias.
pub(in crate::ops) fn biased<B: Backend>(
    y: FloatTensor<B>,
    bias: FloatTensor<B>,
) -> FloatTensor<B> {
    match bias.shape().num_elements() {
        0 => y,
        d_output => B::float_add(y, B::float_reshape(bias, Shape::new([1, d_output]))),
    }
}
