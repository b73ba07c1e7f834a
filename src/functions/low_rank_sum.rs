use burn::{
    backend::Dispatch,
    tensor::{Tensor, assert_shape},
};

use super::operand::assert_float;
use crate::ops::AdapterOps;

/// Computes `Y + s (X A) B`: the output of a projection with that of a LoRA adapter beside it.
///
/// One operation instead of five, which writes the sum into the memory of `Y` where that is free. Under autodiff, with
/// `H = s X A`: `dB = H^T dY`, `dA = s X^T (dY B^T)` and `dX = s (dY B^T) A^T`. `X` and the `rank` values of each
/// token are saved for backward. An `X` that comes from [`rms_norm`](super::rms_norm) or
/// [`gated_activation`](super::gated_activation) is not: it is computed again, from what these save.
///
/// Source: [LoRA](https://arxiv.org/abs/2106.09685), equation 3.
///
/// # Shapes
///
/// - y, output: `[.., d_output]`
/// - x: `[.., d_input]`
/// - a: `[d_input, rank]`
/// - b: `[rank, d_output]`
///
/// # Panics
///
/// If a tensor has another shape than above, `x` and `y` have different leading dimensions, or the types differ.
///
/// # Example
///
/// ```
/// use bitnet_burn::functions::low_rank_sum;
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::default();
/// let y = Tensor::<2>::ones([3, 32], &device);
/// let x = Tensor::<2>::ones([3, 64], &device);
/// let (a, b) = (Tensor::ones([64, 8], &device), Tensor::ones([8, 32], &device));
/// let y = low_rank_sum(y, x, a, b, 0.5);
/// assert_eq!(y.max().into_scalar::<f32>(), 1.0 + 0.5 * 64.0 * 8.0);
/// ```
#[track_caller]
pub fn low_rank_sum<const D: usize>(
    y: Tensor<D>,
    x: Tensor<D>,
    a: Tensor<2>,
    b: Tensor<2>,
    scaling: f64,
) -> Tensor<D> {
    assert_float("low_rank_sum", &y);
    let ([d_input, rank], [_, d_output]) = (a.dims(), b.dims());
    assert_shape!(b, [rank, d_output]);
    assert_shape!(x, [.., d_input]);
    assert_shape!(y, [.., d_output]);
    assert_eq!(
        x.dims()[..D - 1],
        y.dims()[..D - 1],
        "x and y have different tokens"
    );
    for (name, dtype) in [("x", x.dtype()), ("a", a.dtype()), ("b", b.dtype())] {
        assert_eq!(dtype, y.dtype(), "{name} has another type than y");
    }
    if d_input * rank == 0 {
        return y;
    }
    let [y, x] = [y, x].map(Tensor::into_dispatch);
    let [a, b] = [a, b].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::low_rank_sum(y, x, a, b, scaling))
}
