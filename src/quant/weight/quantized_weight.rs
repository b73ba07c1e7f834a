use burn::tensor::Tensor;

use crate::{
    functions::Levels,
    ops::{CodeRange, Groups},
};

/// A quantised weight, a constant for autodiff.
#[derive(Debug)]
pub(crate) struct QuantizedWeight<const D: usize> {
    pub values: Tensor<D>,
    /// What the codes of the weight are multiplied with.
    pub scales: Tensor<2>,
    /// The levels for a gradient rule.
    pub levels: Levels,
}

impl<const D: usize> QuantizedWeight<D> {
    /// A weight whose levels lie around zero.
    pub fn symmetric(
        values: Tensor<D>,
        steps: Tensor<2>,
        groups: Groups,
        codes: CodeRange,
    ) -> Self {
        Self {
            values,
            scales: steps.clone(),
            levels: Levels::symmetric(steps, groups, codes),
        }
    }
}
