use std::ops::Range;

use bitnet_burn_kernels::{
    Groups,
    packing::{CODES_PER_WORD, code_words_per_row},
};
use burn::backend::{
    Backend, FloatDType, IntDType, Shape, TensorData, TensorMetadata,
    tensor::{FloatTensor, IntTensor},
};

use super::{absmax, inverse_scales, mask, not_a_number};
use crate::ops::QatOps;

/// Returns `256^i` for the four codes of a word, as 64-bit `[1, 1, 4]`.
pub(super) fn byte_weights<B: Backend>(device: &B::Device) -> IntTensor<B> {
    let weights: Vec<i64> = (0..4).map(|i| 1 << (8 * i)).collect();
    B::int_from_data(TensorData::new(weights, [1, 1, 4]), device)
}

pub(in crate::ops) fn absmax_quantize<B: Backend>(
    x: FloatTensor<B>,
    max_code: f32,
) -> (IntTensor<B>, FloatTensor<B>) {
    let [tokens, d_input] = x.shape().dims();
    let device = x.device();
    let words = code_words_per_row(d_input);
    let values = B::float_cast(x, FloatDType::F32);

    let scales = inverse_scales::<B>(absmax::<B>(values.clone()), max_code);

    let codes = B::float_round(B::float_mul(values, scales.clone()));
    // A NaN has no code; its scale is NaN instead.
    let uncoded = not_a_number::<B>(&codes);
    let codes = B::float_mask_fill(codes, uncoded, 0.0.into());
    let codes = B::float_clamp(codes, (-max_code - 1.0).into(), max_code.into());
    let padding = Shape::new([tokens, 4 * words - d_input]);
    let codes = match padding[1] {
        0 => codes,
        _ => {
            let padding = B::float_zeros(padding, &device, FloatDType::F32);
            B::float_cat(vec![codes, padding], 1)
        }
    };
    // Two's complement.
    let negative = mask::<B>(&codes, |codes, dtype| {
        B::float_lower_elem(codes, 0.0.into(), dtype)
    });
    let shifted = B::float_add_scalar(codes.clone(), 256.0.into());
    let bytes = B::float_mask_where(codes, negative, shifted);
    let bytes = B::float_into_int(bytes, IntDType::I64);
    let bytes = B::int_reshape(bytes, Shape::new([tokens, words, 4]));
    let sum = B::int_sum_dim(B::int_mul(bytes, byte_weights::<B>(&device)), 2);
    let sum = B::int_reshape(sum, Shape::new([tokens, words]));
    (B::int_cast(sum, IntDType::U32), scales)
}

pub(in crate::ops) fn absmax_dequantize<B: Backend>(
    codes: IntTensor<B>,
    scales: FloatTensor<B>,
    d_input: usize,
    dtype: FloatDType,
) -> FloatTensor<B> {
    let device = scales.device();
    let [tokens, words] = codes.shape().dims();
    let words_by_byte = B::int_reshape(
        B::int_cast(codes, IntDType::I64),
        Shape::new([tokens, words, 1]),
    );
    let bytes = B::int_div(words_by_byte, byte_weights::<B>(&device));
    let bytes = B::int_remainder_scalar(bytes, 256.into());
    let bytes = B::int_reshape(bytes, Shape::new([tokens, 4 * words]));
    let bytes = B::int_slice(bytes, &[(0..tokens).into(), (0..d_input).into()]);
    let bytes = B::int_into_float(bytes, FloatDType::F32);
    let negative = mask::<B>(&bytes, |bytes, dtype| {
        B::float_greater_elem(bytes, 127.5.into(), dtype)
    });
    let shifted = B::float_sub_scalar(bytes.clone(), 256.0.into());
    let codes = B::float_mask_where(bytes, negative, shifted);
    B::float_cast(B::float_div(codes, scales), dtype)
}

pub(in crate::ops) fn ternary_linear<B: QatOps>(
    codes: IntTensor<B>,
    code_scales: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    groups: Groups,
) -> FloatTensor<B> {
    let d_input = weight.shape()[0];
    let dtype: FloatDType = bias.dtype().into();
    let x = B::absmax_dequantize(codes, code_scales, d_input, dtype);
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
    codes: IntTensor<B>,
    code_scales: FloatTensor<B>,
    packed: IntTensor<B>,
    weight_scales: FloatTensor<B>,
    bias: FloatTensor<B>,
    groups: Groups,
    d_input: usize,
) -> FloatTensor<B> {
    let dtype: FloatDType = bias.dtype().into();
    let x = B::absmax_dequantize(codes, code_scales, d_input, dtype);
    let weight = PackedRows::<B> {
        packed,
        scales: weight_scales,
        groups,
        d_input,
    };
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

/// Rows of packed codes and their scales.
#[derive(Debug, Clone)]
pub(in crate::ops) struct PackedRows<B: Backend> {
    pub packed: IntTensor<B>,
    pub scales: FloatTensor<B>,
    pub groups: Groups,
    pub d_input: usize,
}

impl<B: QatOps> PackedRows<B> {
    /// Returns the ranges of rows that are unpacked at a time.
    fn parts(&self) -> impl Iterator<Item = Range<usize>> + use<B> {
        let d_output = self.packed.shape()[0].max(1);
        let outer = self.groups.outer;
        let in_rows = self.groups.inner == 1 && (outer == 1 || outer.is_multiple_of(d_output));
        let at_a_time = match in_rows {
            true => (UNPACKED / self.d_input.max(1)).max(1),
            false => d_output,
        };
        let first = (0..d_output).step_by(at_a_time);
        first.map(move |first| first..d_output.min(first + at_a_time))
    }

    fn unpacked(&self, rows: Range<usize>, dtype: FloatDType) -> FloatTensor<B> {
        let [d_output, words] = self.packed.shape().dims();
        debug_assert_eq!(words, self.d_input.div_ceil(CODES_PER_WORD));
        let (scales, groups) = scales_of_rows::<B>(&self.scales, self.groups, d_output, &rows);
        let shape = Shape::new([rows.len(), self.d_input]);
        let packed = B::int_slice(self.packed.clone(), &[rows.into(), (0..words).into()]);
        B::ternary_unpack(packed, scales, groups, shape, dtype)
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

/// Returns the scales of some rows of a packed weight whose groups lie within rows or are all of it.
fn scales_of_rows<B: Backend>(
    scales: &FloatTensor<B>,
    groups: Groups,
    d_output: usize,
    rows: &Range<usize>,
) -> (FloatTensor<B>, Groups) {
    if rows.len() == d_output {
        return (scales.clone(), groups);
    }
    if groups.outer == 1 {
        let size = groups.size / d_output * rows.len();
        return (scales.clone(), Groups { size, ..groups });
    }
    let of_a_row = groups.outer / d_output;
    let range = rows.start * of_a_row..rows.end * of_a_row;
    let outer = range.len();
    let scales = B::float_slice(scales.clone(), &[range.into(), (0..1).into()]);
    (scales, Groups { outer, ..groups })
}

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
