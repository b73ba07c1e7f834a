use bitnet_burn_kernels::{BLOCK, DynamicMap};
use burn::backend::{
    Backend, FloatDType, IntDType, Shape, TensorData, TensorMetadata,
    tensor::{FloatTensor, IntTensor},
};

use super::{bit_linear::byte_weights, mask, not_a_number};
use crate::ops::{AdamWStep, QatOps};

fn constants<B: Backend>(values: &[f32; 256], device: &B::Device) -> FloatTensor<B> {
    B::float_from_data(TensorData::new(values.to_vec(), [256]), device)
}

/// Returns flat values as `[blocks, BLOCK]`, padded with zeros.
fn blocks<B: Backend>(values: FloatTensor<B>) -> FloatTensor<B> {
    let n = values.shape().num_elements();
    let padding = n.next_multiple_of(BLOCK) - n;
    let padded = match padding {
        0 => values,
        _ => {
            let shape = Shape::new([padding]);
            let padding = B::float_zeros(shape, &values.device(), FloatDType::F32);
            B::float_cat(vec![values, padding], 0)
        }
    };
    B::float_reshape(padded, Shape::new([n.div_ceil(BLOCK), BLOCK]))
}

/// Returns the first `n` values of `[blocks, BLOCK]`.
fn unblocked<B: Backend>(values: FloatTensor<B>, n: usize) -> FloatTensor<B> {
    let padded = values.shape().num_elements();
    let flat = B::float_reshape(values, Shape::new([padded]));
    B::float_slice(flat, &[(0..n).into()])
}

pub(in crate::ops) fn blockwise_quantize<B: Backend>(
    values: FloatTensor<B>,
    map: DynamicMap,
) -> (IntTensor<B>, FloatTensor<B>) {
    let n = values.shape().num_elements();
    let device = values.device();
    let values = blocks::<B>(values);
    // A maximum may drop a NaN; multiplying by the NaN restores it.
    let uncounted = not_a_number::<B>(&values);
    let zeros = B::float_zeros(values.shape(), &device, FloatDType::F32);
    let nan = B::float_mask_fill(zeros, uncounted, f32::NAN.into());
    let absmax = B::float_max_dim(B::float_abs(values.clone()), 1);
    let absmax = B::float_add(absmax, B::float_sum_dim(nan, 1));

    let scaled = B::float_mul(values, B::float_recip(absmax.clone()));
    let scaled = unblocked::<B>(scaled, n);
    let codes = codes::<B>(scaled, map);

    let words = n.div_ceil(4);
    let bytes = match 4 * words - n {
        0 => codes,
        padding => {
            let padding = B::int_zeros(Shape::new([padding]), &device, IntDType::I64);
            B::int_cat(vec![codes, padding], 0)
        }
    };
    let bytes = B::int_reshape(bytes, Shape::new([1, words, 4]));
    let sum = B::int_sum_dim(B::int_mul(bytes, byte_weights::<B>(&device)), 2);
    let packed = B::int_cast(B::int_reshape(sum, Shape::new([words])), IntDType::U32);
    let num_blocks = absmax.shape().num_elements();
    (packed, B::float_reshape(absmax, Shape::new([num_blocks])))
}

/// Returns the number of thresholds below each value, by bisection.
fn codes<B: Backend>(values: FloatTensor<B>, map: DynamicMap) -> IntTensor<B> {
    let device = values.device();
    let thresholds = constants::<B>(map.thresholds(), &device);
    let mut codes = B::int_zeros(values.shape(), &device, IntDType::I64);
    for step in [128, 64, 32, 16, 8, 4, 2, 1] {
        let probed = B::int_add_scalar(codes.clone(), (step - 1).into());
        let threshold = B::float_select(thresholds.clone(), 0, probed);
        let above = mask::<B>(&values, |values, dtype| {
            B::float_greater(values, threshold, dtype)
        });
        let further = B::int_add_scalar(codes.clone(), step.into());
        codes = B::int_mask_where(codes, above, further);
    }
    codes
}

pub(in crate::ops) fn blockwise_dequantize<B: Backend>(
    codes: IntTensor<B>,
    absmax: FloatTensor<B>,
    map: DynamicMap,
    n: usize,
) -> FloatTensor<B> {
    let device = absmax.device();
    let words = codes.shape().num_elements();
    let num_blocks = absmax.shape().num_elements();
    let words_by_byte =
        B::int_reshape(B::int_cast(codes, IntDType::I64), Shape::new([1, words, 1]));
    let bytes = B::int_div(words_by_byte, byte_weights::<B>(&device));
    let bytes = B::int_remainder_scalar(bytes, 256.into());
    let bytes = B::int_reshape(bytes, Shape::new([4 * words]));
    let bytes = B::int_slice(bytes, &[(0..n).into()]);
    let values = B::float_select(constants::<B>(map.values(), &device), 0, bytes);
    let absmax = B::float_reshape(absmax, Shape::new([num_blocks, 1]));
    unblocked::<B>(B::float_mul(blocks::<B>(values), absmax), n)
}

/// The parameter, then codes and absolute maxima of the first and of the second moment.
pub(in crate::ops) type Stepped<B> = (
    FloatTensor<B>,
    IntTensor<B>,
    FloatTensor<B>,
    IntTensor<B>,
    FloatTensor<B>,
);

#[allow(clippy::too_many_arguments)]
pub(in crate::ops) fn adamw_8bit<B: QatOps>(
    param: FloatTensor<B>,
    grad: FloatTensor<B>,
    codes_1: IntTensor<B>,
    absmax_1: FloatTensor<B>,
    codes_2: IntTensor<B>,
    absmax_2: FloatTensor<B>,
    step: AdamWStep,
) -> Stepped<B> {
    let (shape, dtype) = (param.shape(), param.dtype().into());
    let n = shape.num_elements();
    let flat = |x| B::float_reshape(B::float_cast(x, FloatDType::F32), Shape::new([n]));
    let (param, grad) = (flat(param), flat(grad));
    let scaled = |x: &FloatTensor<B>, factor: f32| B::float_mul_scalar(x.clone(), factor.into());

    let moment_1 = B::blockwise_dequantize(codes_1, absmax_1, DynamicMap::Signed, n);
    let moment_1 = B::float_add(scaled(&moment_1, step.beta_1), scaled(&grad, step.rest_1));
    let moment_2 = B::blockwise_dequantize(codes_2, absmax_2, DynamicMap::Unsigned, n);
    let square = B::float_mul(scaled(&grad, step.rest_2), grad);
    let moment_2 = B::float_add(scaled(&moment_2, step.beta_2), square);

    let root = B::float_sqrt(moment_2.clone());
    let root = B::float_div_scalar(root, step.correction_2.into());
    let denominator = B::float_add_scalar(root, step.epsilon.into());
    let update = B::float_div(scaled(&moment_1, step.step_size), denominator);
    let param = B::float_sub(scaled(&param, step.decay), update);

    let (codes_1, absmax_1) = B::blockwise_quantize(moment_1, DynamicMap::Signed);
    let (codes_2, absmax_2) = B::blockwise_quantize(moment_2, DynamicMap::Unsigned);
    let param = B::float_cast(B::float_reshape(param, shape), dtype);
    (param, codes_1, absmax_1, codes_2, absmax_2)
}
