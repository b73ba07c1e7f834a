use burn::tensor::Tensor;

/// Square of the smallest norm that is divided by, 1e-12 as in `torch.nn.functional.normalize`.
const SMALLEST_SQUARE: f64 = 1e-24;

/// `x / max(|x|, 1e-12)` along the last dimension. The norm is bounded before the root is taken:
/// at zero, the root has an infinite gradient.
pub(super) fn unit_norm<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let squares = x.clone().square().sum_dim(D - 1);
    x / squares.clamp_min(SMALLEST_SQUARE).sqrt()
}
