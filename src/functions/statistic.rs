use burn::{backend::Dispatch, tensor::Tensor};

use super::operand::assert_float;
use crate::ops::{Groups, QatOps, Statistic};

/// Computes the statistic of every group of values: `max(mean|v|, 1e-5)` or `max(max|v|, 1e-5)`.
///
/// Computed in f32; a NaN or infinity in a group makes its statistic non-finite, and a group without
/// values has the lower bound. The result is a constant for autodiff.
///
/// # Shapes
///
/// - values: `[..]`, f32, f16 or bf16
/// - output: `[outer, inner]` of `groups`, f32
///
/// # Panics
///
/// If `groups` does not cover the values, or their type is none of the above.
///
/// # Example
///
/// ```
/// use bitnet_burn::functions::{Groups, Statistic, group_statistic};
/// use burn::tensor::{Device, Tensor};
///
/// let values = Tensor::<2>::from_floats([[1.0, -3.0], [0.5, 0.5]], &Device::default());
/// let largest = group_statistic(values, Groups::per_row(&[2, 2]), Statistic::AbsMax);
/// assert_eq!(largest.into_data().to_vec::<f32>().unwrap(), [3.0, 0.5]);
/// ```
#[track_caller]
pub fn group_statistic<const D: usize>(
    values: Tensor<D>,
    groups: Groups,
    statistic: Statistic,
) -> Tensor<2> {
    assert_float("group_statistic", &values);
    groups.assert_cover(&values.dims());
    let statistic = Dispatch::group_statistic(values.into_dispatch(), groups, statistic);
    Tensor::from_dispatch(statistic)
}
