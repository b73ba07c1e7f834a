use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{BitWidth, WeightGranularity, weight::QuantizedWeight};
use crate::{
    base::bounds::assert_valid,
    functions::{group_statistic, learned_step_fake_quant},
    ops::{EPSILON, Groups, Statistic},
};

/// Quantization of weights with trained step sizes (LSQ): `Q(W) = clamp(round(W / step), min, max) * step`,
/// where `step` is a parameter.
///
/// The step starts at `2 mean|W| / sqrt(max)` and is clamped to at least 1e-5. Its gradient is multiplied by
/// `1 / sqrt(n * max)` for `n` weights per step, so that it moves about as fast as the weights. The
/// gradient of the weights is that of LSQ for any estimator of the scheme.
///
/// Source: [Learned Step Size Quantization](https://arxiv.org/abs/1902.08153).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearnedStepConfig {
    /// Width of the codes.
    pub width: BitWidth,
    /// Weights that share a step.
    pub granularity: WeightGranularity,
}

impl LearnedStepConfig {
    /// Creates a quantizer with codes of the given width and one step for the whole weight.
    ///
    /// # Panics
    ///
    /// If the number of bits is not in 2..=8.
    #[track_caller]
    pub fn new(width: BitWidth) -> Self {
        assert_valid(width.validate());
        Self {
            width,
            granularity: WeightGranularity::PerTensor,
        }
    }

    /// Sets the granularity.
    ///
    /// # Panics
    ///
    /// If a group has no input features.
    #[track_caller]
    #[must_use]
    pub fn with_granularity(mut self, granularity: WeightGranularity) -> Self {
        assert_valid(granularity.validate());
        self.granularity = granularity;
        self
    }

    /// Returns the initial step sizes of a weight, `[outer, inner]`.
    pub fn initial_scales<const D: usize>(&self, weight: Tensor<D>, groups: Groups) -> Tensor<2> {
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

impl Default for LearnedStepConfig {
    fn default() -> Self {
        Self::new(BitWidth::Ternary)
    }
}
