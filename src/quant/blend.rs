use burn::tensor::Tensor;

/// Returns `x + lambda * (Q(x) - x)`, where the second part has the gradient of `Q`; exactly `Q(x)` for
/// `lambda = 1`.
///
/// With the identity estimator the gradient is the identity for every `lambda`, as in
/// `x + lambda * stop_gradient(Q(x) - x)`.
pub(crate) fn blend<const D: usize>(x: Tensor<D>, quantized: Tensor<D>, lambda: f32) -> Tensor<D> {
    if lambda == 1.0 {
        return quantized;
    }
    x.mul_scalar(1.0 - lambda) + quantized.mul_scalar(lambda)
}
