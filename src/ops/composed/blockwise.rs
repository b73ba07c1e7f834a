use bitnet_burn_kernels::{BLOCK, DynamicMap};
use burn::backend::{
    Backend, FloatDType, IntDType, Shape, TensorData, TensorMetadata,
    tensor::{FloatTensor, IntTensor},
};

use super::{bool_dtype, not_a_number, words};
use crate::ops::{AdamWStep, BlockwiseCodes, QatOps};

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
) -> BlockwiseCodes<B> {
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

    let codes = B::int_reshape(codes, Shape::new([1, n]));
    let words = words::packed::<B>(codes, 8, n.div_ceil(4), 0);
    BlockwiseCodes {
        words: B::int_reshape(words, Shape::new([n.div_ceil(4)])),
        absmax: B::float_reshape(absmax, Shape::new([n.div_ceil(BLOCK)])),
    }
}

/// Returns the number of thresholds below each value, by bisection.
fn codes<B: Backend>(values: FloatTensor<B>, map: DynamicMap) -> IntTensor<B> {
    let device = values.device();
    let thresholds = constants::<B>(map.thresholds(), &device);
    let mut codes = B::int_zeros(values.shape(), &device, IntDType::I64);
    for step in [128, 64, 32, 16, 8, 4, 2, 1] {
        let probed = B::int_add_scalar(codes.clone(), (step - 1).into());
        let threshold = B::float_select(thresholds.clone(), 0, probed);
        let above = B::float_greater(values.clone(), threshold, bool_dtype::<B>(&values));
        let further = B::int_add_scalar(codes.clone(), step.into());
        codes = B::int_mask_where(codes, above, further);
    }
    codes
}

pub(in crate::ops) fn blockwise_dequantize<B: Backend>(
    codes: BlockwiseCodes<B>,
    map: DynamicMap,
    n: usize,
) -> FloatTensor<B> {
    let bytes = words::unpacked::<B>(codes.words, 8, [1, n]);
    let bytes = B::int_reshape(bytes, Shape::new([n]));
    let map = constants::<B>(map.values(), &codes.absmax.device());
    let values = B::float_select(map, 0, bytes);
    let absmax = B::float_reshape(codes.absmax, Shape::new([n.div_ceil(BLOCK), 1]));
    unblocked::<B>(B::float_mul(blocks::<B>(values), absmax), n)
}

pub(in crate::ops) fn adamw_8bit<B: QatOps>(
    param: FloatTensor<B>,
    grad: FloatTensor<B>,
    [moment_1, moment_2]: [BlockwiseCodes<B>; 2],
    step: AdamWStep,
) -> (FloatTensor<B>, BlockwiseCodes<B>, BlockwiseCodes<B>) {
    let (shape, dtype) = (param.shape(), param.dtype().into());
    let n = shape.num_elements();
    let flat = |x| B::float_reshape(B::float_cast(x, FloatDType::F32), Shape::new([n]));
    let (param, grad) = (flat(param), flat(grad));
    let scaled = |x: &FloatTensor<B>, factor: f32| B::float_mul_scalar(x.clone(), factor.into());

    let moment_1 = B::blockwise_dequantize(moment_1, DynamicMap::Signed, n);
    let moment_1 = B::float_add(
        scaled(&moment_1, step.beta_1),
        scaled(&grad, step.one_minus_beta_1),
    );
    let moment_2 = B::blockwise_dequantize(moment_2, DynamicMap::Unsigned, n);
    let square = B::float_mul(scaled(&grad, step.one_minus_beta_2), grad);
    let moment_2 = B::float_add(scaled(&moment_2, step.beta_2), square);

    let root = B::float_sqrt(moment_2.clone());
    let root = B::float_div_scalar(root, step.bias_correction_2.into());
    let denominator = B::float_add_scalar(root, step.epsilon.into());
    let update = B::float_div(scaled(&moment_1, step.step_size), denominator);
    let param = B::float_sub(scaled(&param, step.decay), update);

    (
        B::float_cast(B::float_reshape(param, shape), dtype),
        B::blockwise_quantize(moment_1, DynamicMap::Signed),
        B::blockwise_quantize(moment_2, DynamicMap::Unsigned),
    )
}
