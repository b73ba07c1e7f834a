//! Quantization to 4 bits as Burn operations. Integers are of 32 bits, which every device has.

use bitnet_burn_kernels::{FourBitFormat, FourBitType, MIN_ABSMAX};
use burn::backend::{
    Backend, FloatDType, IntDType, Shape, TensorData, TensorMetadata,
    tensor::{BoolTensor, FloatTensor, IntTensor},
};

use super::{bool_dtype, not_a_number};

/// Codes in a word.
const CODES: usize = 8;

/// Returns `16^p` for the position `p` of each of the codes of a word, as `[1, 1, 8]`: the first of two is in
/// the upper half of a byte.
fn code_weights<B: Backend>(device: &B::Device) -> IntTensor<B> {
    let weights = [1, 0, 3, 2, 5, 4, 7, 6].map(|position: u32| 16u32.pow(position));
    B::int_from_data(TensorData::new(weights.to_vec(), [1, 1, CODES]), device)
}

fn floats<B: Backend>(values: &[f32], device: &B::Device) -> FloatTensor<B> {
    B::float_from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

fn ints<B: Backend>(values: Vec<u32>, device: &B::Device) -> IntTensor<B> {
    let n = values.len();
    B::int_from_data(TensorData::new(values, [n]), device)
}

pub(in crate::ops) fn four_bit_quantize<B: Backend>(
    values: FloatTensor<B>,
    format: FourBitFormat,
) -> (IntTensor<B>, FloatTensor<B>) {
    let n = values.shape().num_elements();
    let flat = B::float_reshape(B::float_cast(values, FloatDType::F32), Shape::new([n]));
    let full = n - n % format.block_size;
    let mut parts = Vec::new();
    if full > 0 {
        let values = B::float_slice(flat.clone(), &[(0..full).into()]);
        parts.push(scaled_blocks::<B>(values, format.block_size));
    }
    if full < n {
        let values = B::float_slice(flat, &[(full..n).into()]);
        parts.push(scaled_rest::<B>(values));
    }
    let (scaled, maxima): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let codes = codes::<B>(B::float_cat(scaled, 0), format.quant_type);
    (
        words::<B>(codes, format.quant_type),
        B::float_cat(maxima, 0),
    )
}

/// Returns full blocks, each multiplied by the inverse of its absolute maximum, and the maxima.
fn scaled_blocks<B: Backend>(
    values: FloatTensor<B>,
    block_size: usize,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let n = values.shape().num_elements();
    let blocks = Shape::new([n / block_size, block_size]);
    let values = B::float_reshape(values, blocks);
    let absmax = absmax::<B>(&values);
    let small = below_minimum::<B>(&absmax);
    let inverse = B::float_recip(absmax.clone());
    let inverse = B::float_mask_fill(inverse, small, (1.0 / MIN_ABSMAX).into());
    // Devices without subnormal numbers round the lower bound to zero, too.
    let inverse = B::float_mask_fill(inverse, is_zero::<B>(&absmax), 1.0.into());
    let scaled = B::float_mul(values, inverse);
    (
        B::float_reshape(scaled, Shape::new([n])),
        B::float_reshape(absmax, Shape::new([n / block_size])),
    )
}

/// Returns a last, shorter block divided by its absolute maximum, and the latter.
fn scaled_rest<B: Backend>(values: FloatTensor<B>) -> (FloatTensor<B>, FloatTensor<B>) {
    let n = values.shape().num_elements();
    let values = B::float_reshape(values, Shape::new([1, n]));
    let absmax = absmax::<B>(&values);
    let zero = is_zero::<B>(&absmax);
    let small = below_minimum::<B>(&absmax);
    let bounded = B::float_mask_fill(absmax, small, MIN_ABSMAX.into());
    let bounded = B::float_mask_fill(bounded, zero.clone(), MIN_ABSMAX.into());
    let divisor = B::float_mask_fill(bounded.clone(), zero, 1.0.into());
    let scaled = B::float_div(values, divisor);
    (
        B::float_reshape(scaled, Shape::new([n])),
        B::float_reshape(bounded, Shape::new([1])),
    )
}

/// Returns the absolute maxima of rows, `[rows, 1]`.
fn absmax<B: Backend>(values: &FloatTensor<B>) -> FloatTensor<B> {
    // A maximum may drop a NaN; adding it restores it.
    let zeros = B::float_zeros(values.shape(), &values.device(), FloatDType::F32);
    let nan = B::float_mask_fill(zeros, not_a_number::<B>(values), f32::NAN.into());
    let absmax = B::float_max_dim(B::float_abs(values.clone()), 1);
    B::float_add(absmax, B::float_sum_dim(nan, 1))
}

fn below_minimum<B: Backend>(absmax: &FloatTensor<B>) -> BoolTensor<B> {
    B::float_lower_elem(absmax.clone(), MIN_ABSMAX.into(), bool_dtype::<B>(absmax))
}

fn is_zero<B: Backend>(absmax: &FloatTensor<B>) -> BoolTensor<B> {
    B::float_equal_elem(absmax.clone(), 0.0.into(), bool_dtype::<B>(absmax))
}

/// Returns the code of each value: the number of thresholds that it is not below, by bisection, in the order
/// of the values of the codes.
fn codes<B: Backend>(values: FloatTensor<B>, quant_type: FourBitType) -> IntTensor<B> {
    let device = values.device();
    let thresholds = floats::<B>(quant_type.thresholds(), &device);
    let mut codes = B::int_zeros(values.shape(), &device, IntDType::U32);
    for step in [8, 4, 2, 1] {
        let probed = B::int_add_scalar(codes.clone(), (step - 1).into());
        let threshold = B::float_select(thresholds.clone(), 0, probed);
        // A NaN is not below any threshold.
        let below = B::float_lower_equal(values.clone(), threshold, bool_dtype::<B>(&values));
        let further = B::int_add_scalar(codes.clone(), step.into());
        codes = B::int_mask_where(further, below, codes);
    }
    match quant_type {
        FourBitType::Nf4 => codes,
        FourBitType::Fp4 => {
            let ascending = quant_type.ascending().map(u32::from);
            B::int_select(ints::<B>(ascending.to_vec(), &device), 0, codes)
        }
    }
}

/// Returns the words of codes.
fn words<B: Backend>(codes: IntTensor<B>, quant_type: FourBitType) -> IntTensor<B> {
    let device = codes.device();
    let n = codes.shape().num_elements();
    let words = n.div_ceil(CODES);
    let mut padding = vec![0; words * CODES - n];
    if n % 2 == 1 {
        padding[0] = quant_type.code(0.0).into();
    }
    let codes = match padding.len() {
        0 => codes,
        _ => B::int_cat(vec![codes, ints::<B>(padding, &device)], 0),
    };
    let codes = B::int_reshape(codes, Shape::new([1, words, CODES]));
    let sum = B::int_sum_dim(B::int_mul(codes, code_weights::<B>(&device)), 2);
    B::int_reshape(sum, Shape::new([words]))
}

pub(in crate::ops) fn four_bit_dequantize<B: Backend>(
    codes: IntTensor<B>,
    absmax: FloatTensor<B>,
    format: FourBitFormat,
    shape: Shape,
    dtype: FloatDType,
) -> FloatTensor<B> {
    let device = absmax.device();
    let n = shape.num_elements();
    let (words, blocks) = (codes.shape()[0], absmax.shape()[0]);
    let codes = B::int_reshape(codes, Shape::new([1, words, 1]));
    let codes = B::int_div(codes, code_weights::<B>(&device));
    let codes = B::int_remainder_scalar(codes, 16.into());
    let codes = B::int_reshape(codes, Shape::new([words * CODES]));
    // Whole blocks; what is after the last value is cut off at the end.
    let codes = match (words * CODES).checked_sub(blocks * format.block_size) {
        Some(0) => codes,
        Some(_) => B::int_slice(codes, &[(0..blocks * format.block_size).into()]),
        None => {
            let missing = blocks * format.block_size - words * CODES;
            B::int_cat(vec![codes, ints::<B>(vec![0; missing], &device)], 0)
        }
    };
    let table = floats::<B>(format.quant_type.values(), &device);
    let values = B::float_select(table, 0, codes);
    let values = B::float_reshape(values, Shape::new([blocks, format.block_size]));
    let absmax = B::float_reshape(absmax, Shape::new([blocks, 1]));
    let values = B::float_mul(values, absmax);
    let values = B::float_reshape(values, Shape::new([blocks * format.block_size]));
    let values = B::float_slice(values, &[(0..n).into()]);
    B::float_cast(B::float_reshape(values, shape), dtype)
}
