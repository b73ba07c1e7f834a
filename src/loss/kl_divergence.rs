use burn::{
    nn::loss::KLDivLossConfig,
    tensor::{DType, Tensor, activation::log_softmax},
};

/// Replacement of minus infinity: still a probability of zero, but `0 * (lowest - x)` is 0, not
/// NaN.
const LOWEST: f64 = -1e30;

/// Divides logits by the temperature, in `f32`. A logit of minus infinity, as in padded
/// vocabularies, keeps a probability of zero.
pub(super) fn scaled<const D: usize>(logits: Tensor<D>, temperature: f64) -> Tensor<D> {
    let logits = logits.cast(DType::F32).div_scalar(temperature);
    logits.clamp_min(LOWEST)
}

/// Computes `KL(softmax(teacher) || softmax(student))` along the last dimension: `[.., n] ->
/// [rows]`.
pub(super) fn kl_divergence<const D: usize>(student: Tensor<D>, teacher: Tensor<D>) -> Tensor<1> {
    let dims = student.dims();
    let events = dims[D - 1];
    let rows: usize = dims[..D - 1].iter().product();
    let log_probabilities = |logits: Tensor<D>| log_softmax(logits.reshape([rows, events]), 1);
    KLDivLossConfig::new()
        .with_log_target(true)
        .init()
        .forward_no_reduction(log_probabilities(student), log_probabilities(teacher))
        .sum_dim(1)
        .squeeze_dim(1)
}

/// Computes `log(sum(exp(x)))` along the last dimension, which is kept with size 1.
pub(super) fn log_sum_exp<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let max = x.clone().detach().max_dim(D - 1);
    (x - max.clone()).exp().sum_dim(D - 1).log() + max
}

/// Sets the values of `x` at `indices` of the last dimension to probabilities of zero.
pub(super) fn without<const D: usize>(
    x: Tensor<D>,
    indices: Tensor<D, burn::tensor::Int>,
) -> Tensor<D> {
    let lowest = Tensor::full(indices.dims(), LOWEST, (&x.device(), x.dtype()));
    x.scatter(D - 1, indices, lowest, burn::tensor::IndexingUpdateOp::Add)
}
