use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::QuantizedWeight;
use crate::{
    base::bounds::assert_valid,
    functions::{AffineParams, group_statistic},
    ops::{CodeRange, Groups, Statistic},
    quant::{
        WeightGranularity,
        group::{GroupedValues, reshape},
    },
};

/// Binary quantization of BitNet b1: `Q(W) = alpha` where `W > mean W`, else `-alpha`, with
/// `alpha = max(mean|W|, 1e-5)`.
///
/// Stored in 2 bits like ternary weights; the code 0 does not occur.
///
/// Source: [BitNet: Scaling 1-bit Transformers](https://arxiv.org/abs/2310.11453), equations 1 to 3.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BinaryConfig {
    /// Weights that share mean and `alpha`.
    pub granularity: WeightGranularity,
}

impl BinaryConfig {
    /// Creates a quantizer with binary weights of the given granularity.
    ///
    /// # Panics
    ///
    /// If a group has no input features.
    #[track_caller]
    pub fn new(granularity: WeightGranularity) -> Self {
        assert_valid(granularity.validate());
        Self { granularity }
    }

    pub(super) fn quantize<const D: usize>(
        &self,
        weight: Tensor<D>,
        groups: Groups,
    ) -> QuantizedWeight<D> {
        let alpha = group_statistic(weight.clone(), groups, Statistic::AbsMean);
        let grouped = GroupedValues::new(weight.clone(), groups);
        let mean = grouped.mean();
        let above = grouped.greater(mean.clone()).float();
        // From {0, 1} to {-1, 1}. A non-finite mean makes the scale non-finite, too.
        let codes = above.mul_scalar(2.0).sub_scalar(1.0);
        let values = GroupedValues::new(codes, groups).scaled(alpha.clone());

        // The levels as codes 0 and 1, with the threshold between them at the mean.
        let distances = alpha.clone().mul_scalar(2.0);
        let zero_points = mean.div(distances.clone()).neg().add_scalar(0.5);
        QuantizedWeight {
            values: reshape(values, weight.dims()).cast(weight.dtype()),
            scales: alpha,
            levels: AffineParams {
                scales: distances,
                zero_points,
                groups,
                codes: CodeRange { min: 0.0, max: 1.0 },
            },
        }
    }
}
