//! A step of AdamW in one pass over parameter, gradient and moments.

use burn::backend::{DType, Flex, TensorMetadata, tensor::FloatTensor};
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::{
    slices::{PARALLEL_CHUNK, vectorized},
    values::{self, Values},
};
use crate::ops::{FusedAdamWStep, composed};

/// Updates `f32` tensors in place; others by Burn's operations.
pub(super) fn fused_adamw(
    param: FloatTensor<Flex>,
    grad: FloatTensor<Flex>,
    moments: [FloatTensor<Flex>; 2],
    step: FusedAdamWStep,
) -> (FloatTensor<Flex>, FloatTensor<Flex>, FloatTensor<Flex>) {
    let [moment_1, moment_2] = &moments;
    let all = [&param, &grad, moment_1, moment_2];
    if all.iter().any(|tensor| tensor.dtype() != DType::F32) {
        return composed::fused_adamw::<Flex>(param, grad, moments, step);
    }
    let [moment_1, moment_2] = moments;
    let [mut param, mut moment_1, mut moment_2] = [param, moment_1, moment_2].map(contiguous);
    let grad = Values::of(&grad);
    // Copies the values if another tensor has them, too.
    let [of_param, of_moment_1, of_moment_2] = [&mut param, &mut moment_1, &mut moment_2]
        .map(|tensor| tensor.storage_mut::<f32>()[..grad.len()].par_chunks_mut(PARALLEL_CHUNK));
    (
        of_param,
        of_moment_1,
        of_moment_2,
        grad.par_chunks(PARALLEL_CHUNK),
    )
        .into_par_iter()
        .for_each(|(param, moment_1, moment_2, grad)| {
            vectorized(Step {
                param,
                grad,
                moment_1,
                moment_2,
                step,
            });
        });
    (param, moment_1, moment_2)
}

/// Returns a tensor whose values are the first of its storage, row-major.
fn contiguous(tensor: FlexTensor) -> FlexTensor {
    match tensor.is_contiguous() && tensor.layout().start_offset() == 0 {
        true => tensor,
        false => values::tensor(Values::of(&tensor).to_vec(), tensor.shape()),
    }
}

/// A step of neighboring values.
struct Step<'a> {
    param: &'a mut [f32],
    grad: &'a [f32],
    moment_1: &'a mut [f32],
    moment_2: &'a mut [f32],
    step: FusedAdamWStep,
}

impl pulp::NullaryFnOnce for Step<'_> {
    type Output = ();

    /// Each operation rounds, as in a chain of operations on tensors.
    #[inline(always)]
    fn call(self) {
        let s = self.step;
        let [new_1, new_2] = [1.0 - s.beta_1, 1.0 - s.beta_2];
        let moments = self.moment_1.iter_mut().zip(self.moment_2);
        let values = self.param.iter_mut().zip(self.grad).zip(moments);
        for ((p, &g), (m, v)) in values {
            let (of_grad, of_square) = (g * new_1, g * g * new_2);
            (*m, *v) = match s.is_first {
                true => (of_grad, of_square),
                false => (*m * s.beta_1 + of_grad, *v * s.beta_2 + of_square),
            };
            let denominator = (*v / s.bias_correction_2).sqrt() + s.epsilon;
            let update = *m / s.bias_correction_1 / denominator;
            *p = *p * s.decay - update * s.lr;
        }
    }
}
