//! RMS normalization `y = x / rms(x) * gamma` as Burn operations, in `f32`.

use burn::backend::{Backend, FloatDType, Shape, TensorMetadata, tensor::FloatTensor};

use super::ungrouped;

/// Rows `x` in `f32`, each divided by its root mean square, and the inverse of the latter.
struct Normalized<B: Backend> {
    rows: FloatTensor<B>,
    inverse_rms: FloatTensor<B>,
}

fn rows<B: Backend>(values: FloatTensor<B>, n: usize) -> FloatTensor<B> {
    let rows = values.shape().num_elements() / n.max(1);
    B::float_reshape(
        B::float_cast(values, FloatDType::F32),
        Shape::new([rows, n]),
    )
}

fn normalized<B: Backend>(x: FloatTensor<B>, n: usize, epsilon: f32) -> Normalized<B> {
    let x = rows::<B>(x, n);
    let square = B::float_mul(x.clone(), x.clone());
    let mean = B::float_mean_dim(square, 1);
    let rms = B::float_sqrt(B::float_add_scalar(mean, epsilon.into()));
    let inverse_rms = B::float_recip(rms);
    Normalized {
        rows: B::float_mul(x, inverse_rms.clone()),
        inverse_rms,
    }
}

pub(in crate::ops) fn rms_norm<B: Backend>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    epsilon: f32,
) -> FloatTensor<B> {
    let (shape, dtype) = (x.shape(), x.dtype().into());
    let n = gamma.shape().num_elements();
    let x = normalized::<B>(x, n, epsilon).rows;
    ungrouped::<B>(B::float_mul(x, rows::<B>(gamma, n)), shape, dtype)
}

pub(in crate::ops) fn rms_norm_gradient<B: Backend>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    grads: FloatTensor<B>,
    epsilon: f32,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let (shape, dtype) = (x.shape(), x.dtype().into());
    let (gamma_shape, gamma_dtype) = (gamma.shape(), gamma.dtype().into());
    let n = gamma_shape.num_elements();
    let x = normalized::<B>(x, n, epsilon);
    let grads = rows::<B>(grads, n);
    let of_gamma = B::float_sum_dim(B::float_mul(grads.clone(), x.rows.clone()), 0);
    let scaled = B::float_mul(grads, rows::<B>(gamma, n));
    let along_x = B::float_mean_dim(B::float_mul(scaled.clone(), x.rows.clone()), 1);
    let across_x = B::float_sub(scaled, B::float_mul(x.rows, along_x));
    let of_x = B::float_mul(across_x, x.inverse_rms);
    (
        ungrouped::<B>(of_x, shape, dtype),
        ungrouped::<B>(of_gamma, gamma_shape, gamma_dtype),
    )
}
