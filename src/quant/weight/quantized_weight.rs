use burn::tensor::Tensor;

use crate::{
    functions::AffineParams,
    ops::{CodeRange, Groups},
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
    /// Creates a weight whose levels lie around zero.
    pub fn symmetric(
        values: Tensor<D>,
        scales: Tensor<2>,
        groups: Groups,
        codes: CodeRange,
    ) -> Self {
        Self {
            values,
            scales: scales.clone(),
            levels: AffineParams::symmetric(scales, groups, codes),
        }
    }
}
