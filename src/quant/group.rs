use burn::tensor::{Bool, DType, Tensor};

use crate::{
    functions::group_statistic,
    ops::{EPSILON, Groups, Statistic, mean_prescale},
};

/// Reshapes a tensor; Burn's own `reshape` reads a 0 as the length of the old shape.
pub(crate) fn reshape<const D: usize, const E: usize>(
    tensor: Tensor<D>,
    shape: [usize; E],
) -> Tensor<E> {
    match shape.contains(&0) {
        true => Tensor::zeros(shape, (&tensor.device(), tensor.dtype())),
        false => tensor.reshape(shape),
    }
}

/// The values of a tensor as `[outer, size, inner]` in f32, for statistics without an operation of their
/// own.
#[derive(Debug)]
pub(crate) struct GroupedValues {
    values: Tensor<3>,
    groups: Groups,
}

impl GroupedValues {
    pub fn new<const D: usize>(values: Tensor<D>, groups: Groups) -> Self {
        groups.assert_cover(&values.dims());
        let shape = [groups.outer, groups.size, groups.inner];
        Self {
            values: reshape(values.cast(DType::F32), shape),
            groups,
        }
    }

    /// Returns one value for each group, `[outer, inner]`; `empty` if groups have no values. The result of a
    /// group with a NaN or infinity is not finite: most orders and maxima drop a NaN.
    fn reduce(&self, empty: f32, f: impl FnOnce(Tensor<3>) -> Tensor<3>) -> Tensor<2> {
        let shape = self.groups.scale_shape();
        if self.groups.num_elements() == 0 {
            return Tensor::full(shape, empty, &self.values.device());
        }
        // The largest magnitude is not finite then. A comparison decides, as shader compilers replace
        // `x - x` by 0.
        let largest = group_statistic(self.values.clone(), self.groups, Statistic::AbsMax);
        let finite = largest.clone().lower_equal_scalar(f32::MAX);
        largest.mask_where(finite, f(self.values.clone()).reshape(shape))
    }

    /// Returns the mean of each group; 0 for no values.
    pub fn mean(&self) -> Tensor<2> {
        let prescale = mean_prescale(self.groups.size);
        let denominator = self.groups.size as f32 * prescale;
        self.reduce(0.0, |values| {
            values
                .mul_scalar(prescale)
                .sum_dim(1)
                .div_scalar(denominator)
        })
    }

    /// Returns `max(median|v|, 1e-5)` of each group.
    pub fn absmedian(&self) -> Tensor<2> {
        self.reduce(EPSILON, |values| {
            let median = values.abs().median(1);
            let small = median.clone().lower_scalar(EPSILON);
            median.mask_fill(small, EPSILON)
        })
    }

    /// Returns the smallest and largest value of each group, both including 0.
    pub fn range_with_zero(&self) -> (Tensor<2>, Tensor<2>) {
        let min = self.reduce(0.0, |values| values.min_dim(1).clamp_max(0.0));
        let max = self.reduce(0.0, |values| values.max_dim(1).clamp_min(0.0));
        (min, max)
    }

    /// Returns whether values are greater than the threshold of their group.
    pub fn greater(&self, thresholds: Tensor<2>) -> Tensor<3, Bool> {
        self.values.clone().greater(self.spread(thresholds))
    }

    /// Returns each value times the scale of its group.
    pub fn scaled(&self, scales: Tensor<2>) -> Tensor<3> {
        self.values.clone().mul(self.spread(scales))
    }

    /// Broadcasts the value of each group to its values.
    fn spread(&self, per_group: Tensor<2>) -> Tensor<3> {
        let Groups { outer, size, inner } = self.groups;
        if self.groups.num_elements() == 0 {
            return self.values.zeros_like();
        }
        per_group
            .reshape([outer, 1, inner])
            .expand([outer, size, inner])
    }
}
