use burn::tensor::Tensor;

use crate::{
    functions::{AffineParams, affine_fake_quant},
    ops::{Groups, QuantRange},
};

/// A quantized weight, a constant for autodiff.
#[derive(Debug)]
pub(crate) struct QuantizedWeight<const D: usize> {
    pub values: Tensor<D>,
    /// The scales that the codes of the weight are multiplied by.
    pub scales: Tensor<2>,
    /// The levels for a gradient rule.
    pub levels: AffineParams,
}

impl<const D: usize> QuantizedWeight<D> {
    /// Rounds a weight to levels around zero.
    pub fn rounded(
        weight: Tensor<D>,
        scales: Tensor<2>,
        groups: Groups,
        codes: QuantRange,
    ) -> Self {
        let levels = AffineParams::symmetric(scales.clone(), groups, codes);
        Self {
            values: affine_fake_quant(weight, levels.clone()),
            scales,
            levels,
        }
    }

    /// Creates a weight whose levels lie around zero.
    pub fn symmetric(
        values: Tensor<D>,
        scales: Tensor<2>,
        groups: Groups,
        codes: QuantRange,
    ) -> Self {
        Self {
            values,
            scales: scales.clone(),
            levels: AffineParams::symmetric(scales, groups, codes),
        }
    }
}
