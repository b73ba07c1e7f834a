use burn::tensor::{DType, FloatDType, Tensor, TensorReadError, Transaction};

use super::ObserverGranularity;

/// The smallest and largest finite value of each channel of one sample.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Extremes {
    /// Smallest value, above the maximum if a channel has no finite value.
    pub(super) min: Vec<f32>,
    pub(super) max: Vec<f32>,
    /// Number of finite values.
    pub(super) finite: u64,
    /// Number of NaN and infinite values.
    pub(super) non_finite: u64,
}

impl Extremes {
    /// Computes them from row-major values with the channels in the last dimension.
    pub(super) fn of_values(values: &[f32], num_ranges: usize) -> Self {
        let mut extremes = Self {
            min: vec![f32::MAX; num_ranges],
            max: vec![f32::MIN; num_ranges],
            finite: 0,
            non_finite: 0,
        };
        for row in values.chunks(num_ranges) {
            for (channel, &value) in row.iter().enumerate() {
                if value.is_finite() {
                    extremes.min[channel] = extremes.min[channel].min(value);
                    extremes.max[channel] = extremes.max[channel].max(value);
                    extremes.finite += 1;
                }
            }
        }
        extremes.non_finite = values.len() as u64 - extremes.finite;
        extremes
    }

    /// Computes them on the device of the tensor, with one read of the result.
    ///
    /// The tensor must not be empty.
    pub(super) fn of_tensor<const D: usize>(
        tensor: Tensor<D>,
        granularity: ObserverGranularity,
    ) -> Result<Self, TensorReadError> {
        // Values that overflow f32 are infinite, as when they are read to the host.
        let tensor = match tensor.dtype() {
            DType::F64 => tensor.cast(FloatDType::F32),
            _ => tensor,
        };
        let info = tensor.dtype().finfo().expect("the type of a float tensor");
        let num_values = tensor.shape().num_elements();
        let channels = granularity.num_ranges(tensor.dims().last().copied().unwrap_or(1));
        let outside = tensor.clone().is_finite().bool_not();
        let low = tensor.clone().mask_fill(outside.clone(), info.max);
        let high = tensor.mask_fill(outside.clone(), info.min);
        let (min, max) = match granularity {
            ObserverGranularity::PerTensor => (low.min(), high.max()),
            ObserverGranularity::PerChannel => {
                let rows = [num_values / channels, channels];
                let low = low.reshape(rows).min_dim(0);
                let high = high.reshape(rows).max_dim(0);
                (low.reshape([channels]), high.reshape([channels]))
            }
        };
        let results = Transaction::default()
            .register(min)
            .register(max)
            .register(outside.int().sum())
            .try_execute()?;
        let non_finite = results[2].iter::<i64>().next().unwrap_or(0) as u64;
        let mut extremes = Self {
            min: results[0].iter::<f32>().collect(),
            max: results[1].iter::<f32>().collect(),
            finite: num_values as u64 - non_finite,
            non_finite,
        };
        extremes.mark_empty();
        Ok(extremes)
    }

    /// Sets empty bounds, which any value moves, for channels without a finite value.
    fn mark_empty(&mut self) {
        for (min, max) in self.min.iter_mut().zip(&mut self.max) {
            if min > max {
                (*min, *max) = (f32::MAX, f32::MIN);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_not_finite_are_counted_and_left_out() {
        let values = [1.0, f32::NAN, -2.0, f32::INFINITY, 5.0, f32::NEG_INFINITY];
        let extremes = Extremes::of_values(&values, 2);
        assert_eq!((extremes.finite, extremes.non_finite), (3, 3));
        assert_eq!(extremes.min, [-2.0, f32::MAX]);
        assert_eq!(extremes.max, [5.0, f32::MIN]);
        let whole = Extremes::of_values(&values, 1);
        assert_eq!((whole.min, whole.max), (vec![-2.0], vec![5.0]));
    }
}
