use burn::tensor::Tensor;

use super::QuantizedWeight;
use crate::{
    functions::{AffineParams, group_statistic},
    ops::{Groups, QuantRange, Statistic},
    quant::group::{GroupedValues, reshape},
};

/// Quantizes a weight by the sign around the mean.
pub(super) fn quantize<const D: usize>(weight: Tensor<D>, groups: Groups) -> QuantizedWeight<D> {
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
            codes: QuantRange { min: 0.0, max: 1.0 },
        },
    }
}
