use burn::tensor::Tensor;

use super::{BitWidth, weight::QuantizedWeight};
use crate::{
    functions::{group_statistic, learned_step_fake_quant},
    ops::{EPSILON, Groups, Statistic},
};

/// Width of [`WeightQuantizer::LearnedStep`](crate::quant::WeightQuantizer::LearnedStep).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LearnedStepConfig {
    pub(crate) width: BitWidth,
}

impl LearnedStepConfig {
    /// Returns the initial step sizes of a weight, `[outer, inner]`.
    pub(crate) fn initial_scales<const D: usize>(
        &self,
        weight: Tensor<D>,
        groups: Groups,
    ) -> Tensor<2> {
        let absmean = group_statistic(weight, groups, Statistic::AbsMean);
        at_least_epsilon(absmean.mul_scalar(2.0 / self.width.codes().max.sqrt()))
    }

    /// Returns the quantized weight for given step sizes, as a constant.
    pub(crate) fn quantize<const D: usize>(
        &self,
        weight: Tensor<D>,
        scales: Tensor<2>,
        groups: Groups,
    ) -> QuantizedWeight<D> {
        let scales = at_least_epsilon(scales.detach());
        QuantizedWeight::rounded(weight, scales, groups, self.width.codes())
    }

    /// Returns the fake-quantized weight, with gradients for the weight and the step sizes.
    pub(crate) fn fake_quant<const D: usize>(
        &self,
        weight: Tensor<D>,
        scales: Tensor<2>,
        groups: Groups,
    ) -> Tensor<D> {
        let codes = self.width.codes();
        let scales = at_least_epsilon(scales);
        let offsets = scales.clone().detach().zeros_like();
        let grad_scale = 1.0 / (groups.size.max(1) as f32 * codes.max).sqrt();
        learned_step_fake_quant(weight, scales, offsets, groups, codes, grad_scale)
    }
}

/// Clamps scales to 1e-5 or more. A smaller step keeps its gradient, so that it can grow again.
pub(crate) fn at_least_epsilon(scales: Tensor<2>) -> Tensor<2> {
    let missing = scales.clone().detach().neg().add_scalar(EPSILON);
    scales.add(missing.clamp_min(0.0))
}
