use burn::{
    backend::Dispatch,
    tensor::{DType, Tensor},
};

use crate::ops::QatOps;

/// Rounds f32 to bf16 stochastically: up or down, each with the probability of its nearness, so that the
/// mean over many roundings is the value. No gradient.
///
/// Rounding to nearest always loses an update smaller than half a step of bf16, 2^-9 of the weight. Here
/// it is applied with a probability proportional to its size. The random numbers depend only on the seed
/// and the position.
///
/// # Panics
///
/// If the values are not f32.
///
/// Source: [Revisiting BFloat16 Training](https://arxiv.org/abs/2010.06192), section 3.
///
/// # Example
///
/// ```
/// use bitnet_burn::functions::stochastic_round;
/// use burn::tensor::{DType, Device, Tensor};
///
/// // A quarter of the way from 1 to the next number of bf16.
/// let x = Tensor::<1>::full([10_000], 1.0 + 2f32.powi(-9), &Device::default());
/// let rounded = stochastic_round(x.clone(), 0);
/// assert_eq!(rounded.dtype(), DType::BF16);
/// let mean = rounded.cast(DType::F32).mean().into_scalar::<f32>();
/// assert!((mean - x.mean().into_scalar::<f32>()).abs() < 2e-4);
/// ```
#[track_caller]
pub fn stochastic_round<const D: usize>(values: Tensor<D>, seed: u32) -> Tensor<D> {
    let dtype = values.dtype();
    assert!(
        dtype == DType::F32,
        "stochastic rounding takes f32 values, got {dtype:?}"
    );
    if values.shape().num_elements() == 0 {
        return values.cast(DType::BF16);
    }
    Tensor::from_dispatch(Dispatch::stochastic_round(values.into_dispatch(), seed))
}
