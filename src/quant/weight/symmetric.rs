use burn::tensor::Tensor;

use super::QuantizedWeight;
use crate::{
    functions::group_statistic,
    ops::{Groups, QuantRange, Statistic},
};

/// Quantizes a weight to signed codes of `bits` bits.
pub(super) fn quantize<const D: usize>(
    weight: Tensor<D>,
    groups: Groups,
    bits: u8,
) -> QuantizedWeight<D> {
    let codes = QuantRange::signed(bits);
    let absmax = group_statistic(weight.clone(), groups, Statistic::AbsMax);
    let scales = absmax.div_scalar(codes.max);
    QuantizedWeight::rounded(weight, scales, groups, codes)
}
