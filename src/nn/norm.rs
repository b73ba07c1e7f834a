use burn::{nn::RmsNorm, tensor::Tensor};

use crate::functions::rms_norm;

/// Applies [`RmsNorm::forward`] as one operation.
pub(super) fn normalize<const D: usize>(norm: &RmsNorm, x: Tensor<D>) -> Tensor<D> {
    rms_norm(x, norm.gamma.val(), norm.epsilon)
}

/// Applies a norm, if there is one.
pub(super) fn normalize_if<const D: usize>(norm: &Option<RmsNorm>, x: Tensor<D>) -> Tensor<D> {
    match norm {
        Some(norm) => normalize(norm, x),
        None => x,
    }
}
