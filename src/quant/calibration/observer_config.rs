use serde::{Deserialize, Serialize};

use super::{
    Mapping, ObserverGranularity, ema_min_max, histogram,
    mse::{self, MseSearch},
    percentile,
};
use crate::base::{bits::deserialize_bits, bounds::OutOfBounds};

/// Configuration of an [`Observer`](super::Observer): the method that computes the range of a stream.
///
/// In a file, a missing field has the value of the function that creates the observer, such as
/// [`percentile`](Self::percentile).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ObserverConfig {
    /// Range from the smallest to the largest value of the stream.
    ///
    /// Only the bounds of a tensor are read back from the device. The order of the samples does not matter.
    MinMax {
        /// Values that share a range.
        #[serde(default)]
        granularity: ObserverGranularity,
    },
    /// Exponential moving averages of the smallest and the largest value of the samples:
    /// `b_1 = x_1`, `b_n = m * b_(n-1) + (1 - m) * x_n`, where `x_n` is the bound of sample `n` and `m`
    /// the momentum.
    ///
    /// An outlying sample moves the range only by `1 - m` of the distance; values may lie outside the range.
    /// Only the bounds of a tensor are read back from the device. The result depends on the order of the
    /// samples.
    ///
    /// Source: [Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    /// Inference](https://arxiv.org/abs/1712.05877); PyTorch's `MovingAverageMinMaxObserver` with
    /// `averaging_constant = 1 - m`.
    EmaMinMax {
        /// Momentum in [0, 1).
        #[serde(
            default = "ema_min_max::momentum",
            deserialize_with = "ema_min_max::deserialize_momentum"
        )]
        momentum: f64,
        /// Values that share a range.
        #[serde(default)]
        granularity: ObserverGranularity,
    },
    /// Range between two percentiles of all values of the stream, which cuts off outliers.
    ///
    /// With percentile `p` and `n` values, the upper bound is the upper edge of the bin of a histogram that
    /// holds the `ceil(p / 100 * n)`-th smallest value, at most the largest value; the lower bound is the same
    /// from below. So at least `p` percent of the values are not above the range, and at least `p` percent not
    /// below it. At either end the range is at most one width of a bin too long, which is
    /// less than `max|x| * 4 / bins`. The order of the samples does not matter. Every value of an
    /// observed tensor is read back from the device.
    Percentile {
        /// Percentage of values within a bound, in (50, 100].
        #[serde(
            default = "percentile::percentile",
            deserialize_with = "percentile::deserialize_percentile"
        )]
        percentile: f64,
        /// Number of bins, a power of two from 16 to 65536.
        #[serde(
            default = "histogram::bins",
            deserialize_with = "histogram::deserialize_bins"
        )]
        bins: usize,
    },
    /// Range from the smallest to the largest value, with a
    /// [histogram](super::Observer::histogram) of the stream. Every value of an observed tensor is read back
    /// from the device.
    Histogram {
        /// Number of bins, a power of two from 16 to 65536.
        #[serde(
            default = "histogram::bins",
            deserialize_with = "histogram::deserialize_bins"
        )]
        bins: usize,
    },
    /// Range with the least quantization error: `[r min, r max]` with the clip ratio `r` out
    /// of `1/k, 2/k, .., 1` that minimizes
    ///
    /// `mse(r) = sum_j n_j (c_j - Q_r(c_j))^2 / sum_j n_j`.
    ///
    /// `min` and `max` are those of the stream, `Q_r` is the quantizer of the range, `n_j` the number of values
    /// in bin `j` of a histogram and `c_j` its middle, between `min` and `max`. Of equal ratios the largest is
    /// taken.
    ///
    /// `|x - Q(x)|` changes by at most the change of `x`, and every value is within half a
    /// width `w` of the middle of its bin. So `sqrt(mse)` is within `w / 2` of that
    /// of the values themselves, and the ratio found is at most `w` worse than the best one.
    ///
    /// The order of the samples does not matter. Every value of an observed tensor is read back from the
    /// device; the search takes `k` times the number of bins.
    Mse {
        /// Bits of the codes that the range is for, 2 to 8.
        #[serde(default = "mse::bits", deserialize_with = "deserialize_bits")]
        bits: u8,
        /// Mapping of codes to values.
        #[serde(default)]
        mapping: Mapping,
        /// Number of clip ratios `k`, 1 to 10000.
        #[serde(
            default = "mse::candidates",
            deserialize_with = "mse::deserialize_candidates"
        )]
        candidates: usize,
        /// Number of bins, a power of two from 16 to 65536.
        #[serde(
            default = "histogram::bins",
            deserialize_with = "histogram::deserialize_bins"
        )]
        bins: usize,
    },
}

impl ObserverConfig {
    /// Creates a min-max observer of whole tensors.
    pub fn min_max() -> Self {
        let granularity = ObserverGranularity::default();
        Self::MinMax { granularity }
    }

    /// Creates an observer of moving averages of whole tensors, with a momentum of 0.99.
    pub fn ema_min_max() -> Self {
        Self::EmaMinMax {
            momentum: ema_min_max::momentum(),
            granularity: ObserverGranularity::default(),
        }
    }

    /// Creates an observer of percentile 99.99, in 4096 bins.
    pub fn percentile() -> Self {
        Self::Percentile {
            percentile: percentile::percentile(),
            bins: histogram::bins(),
        }
    }

    /// Creates an observer of a histogram of 4096 bins.
    pub fn histogram() -> Self {
        let bins = histogram::bins();
        Self::Histogram { bins }
    }

    /// Creates an observer of the range with the least error of symmetric codes of 8 bits, out of 100 ranges, in
    /// 4096 bins.
    pub fn mse() -> Self {
        Self::Mse {
            bits: mse::bits(),
            mapping: Mapping::Symmetric,
            candidates: mse::candidates(),
            bins: histogram::bins(),
        }
    }

    /// Checks the fields, as `serde` does on deserialization.
    ///
    /// # Errors
    ///
    /// If a field is out of its range.
    pub fn validate(&self) -> Result<(), OutOfBounds> {
        match *self {
            Self::MinMax { .. } | Self::Histogram { .. } => {}
            Self::EmaMinMax { momentum, .. } => ema_min_max::check_momentum(momentum)?,
            Self::Percentile { percentile, .. } => percentile::check_percentile(percentile)?,
            Self::Mse {
                bits, candidates, ..
            } => mse::check(bits, candidates)?,
        }
        self.bins().map_or(Ok(()), histogram::check_bins)
    }

    /// Returns the values that share a range.
    pub fn granularity(&self) -> ObserverGranularity {
        match *self {
            Self::MinMax { granularity } | Self::EmaMinMax { granularity, .. } => granularity,
            Self::Percentile { .. } | Self::Histogram { .. } | Self::Mse { .. } => {
                ObserverGranularity::PerTensor
            }
        }
    }

    /// Returns the number of bins of the observers with a histogram.
    pub(super) fn bins(&self) -> Option<usize> {
        match *self {
            Self::MinMax { .. } | Self::EmaMinMax { .. } => None,
            Self::Percentile { bins, .. } | Self::Histogram { bins } | Self::Mse { bins, .. } => {
                Some(bins)
            }
        }
    }

    /// Returns the search of the range with the least error.
    pub(super) fn search(&self) -> Option<MseSearch> {
        match *self {
            Self::Mse {
                bits,
                mapping,
                candidates,
                ..
            } => Some(MseSearch {
                bits,
                mapping,
                candidates,
            }),
            _ => None,
        }
    }
}
