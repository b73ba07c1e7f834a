use burn::{backend::Dispatch, tensor::Tensor};

use crate::ops::{FusedAdamWStep, QatOps};

/// Applies a step of AdamW to a parameter and its moments, in the order of Burn's optimizer:
///
/// ```text
/// m = beta_1 m + (1 - beta_1) g
/// v = beta_2 v + (1 - beta_2) g^2
/// p = (1 - lr weight_decay) p - lr (m / (1 - beta_1^t)) / (sqrt(v / (1 - beta_2^t)) + epsilon)
/// ```
///
/// # Shapes
///
/// - param, grad, moments: any, all the same
///
/// # Panics
///
/// If the shapes differ.
#[track_caller]
pub fn fused_adamw<const D: usize>(
    param: Tensor<D>,
    grad: Tensor<D>,
    [moment_1, moment_2]: [Tensor<D>; 2],
    step: FusedAdamWStep,
) -> (Tensor<D>, [Tensor<D>; 2]) {
    for (name, shape) in [
        ("gradient", grad.dims()),
        ("first moment", moment_1.dims()),
        ("second moment", moment_2.dims()),
    ] {
        assert!(
            param.dims() == shape,
            "a parameter of shape {:?} has no {name} of shape {shape:?}",
            param.dims()
        );
    }
    if param.shape().num_elements() == 0 {
        return (param, [moment_1, moment_2]);
    }
    let [param, grad, moment_1, moment_2] =
        [param, grad, moment_1, moment_2].map(|tensor| tensor.into_dispatch());
    let (param, moment_1, moment_2) = Dispatch::fused_adamw(param, grad, moment_1, moment_2, step);
    let moments = [moment_1, moment_2].map(Tensor::from_dispatch);
    (Tensor::from_dispatch(param), moments)
}
