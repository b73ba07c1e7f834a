use burn::backend::tensor::FloatTensor;

use crate::ops::{FusedAdamWStep, QatOps};

/// Burn's operations in Burn's order.
pub(in crate::ops) fn fused_adamw<B: QatOps>(
    param: FloatTensor<B>,
    grad: FloatTensor<B>,
    [moment_1, moment_2]: [FloatTensor<B>; 2],
    step: FusedAdamWStep,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let scaled = |x: FloatTensor<B>, factor: f32| B::float_mul_scalar(x, factor.into());
    let square = B::float_mul(grad.clone(), grad.clone());
    let mut new_1 = scaled(grad, 1.0 - step.beta_1);
    let mut new_2 = scaled(square, 1.0 - step.beta_2);
    if !step.is_first {
        new_1 = B::float_add(scaled(moment_1, step.beta_1), new_1);
        new_2 = B::float_add(scaled(moment_2, step.beta_2), new_2);
    }
    let numerator = B::float_div_scalar(new_1.clone(), step.bias_correction_1.into());
    let root = B::float_div_scalar(new_2.clone(), step.bias_correction_2.into());
    let denominator = B::float_add_scalar(B::float_sqrt(root), step.epsilon.into());
    let update = scaled(B::float_div(numerator, denominator), step.lr);
    let decayed = match step.decay == 1.0 {
        true => param,
        false => scaled(param, step.decay),
    };
    (B::float_sub(decayed, update), new_1, new_2)
}
