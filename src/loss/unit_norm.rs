use burn::tensor::Tensor;

/// Square of the smallest norm used as divisor, 1e-12 as in `torch.nn.functional.normalize`.
const SMALLEST_SQUARE: f64 = 1e-24;

/// Computes `x / max(|x|, 1e-12)` along the last dimension. The norm is clamped before the root is
/// taken: at zero, the gradient of the root is infinite.
pub(super) fn unit_norm<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let squares = x.clone().square().sum_dim(D - 1);
    x / squares.clamp_min(SMALLEST_SQUARE).sqrt()
}
