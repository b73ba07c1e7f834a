use core::ops::Bound::{Excluded, Included};

use serde::{Deserialize, Deserializer, Serialize};

use super::{CalibrationError, Histogram, Range, histogram};
use crate::base::bounds::{Bounds, OutOfBounds};

const PERCENTILE: Bounds = Bounds::new(Excluded(50.0), Included(100.0), "in (50, 100]");
const NAME: &str = "percentile";

/// Observer of the range between two percentiles of all values of the stream, which cuts off outliers.
///
/// With percentile `p` and `n` values, the upper bound is the upper edge of the bin that holds the
/// `ceil(p / 100 * n)`-th smallest value, at most the largest value; the lower bound is the same
/// from below. So at least `p` percent of the values are not above the range, and at least `p` percent not
/// below it. At either end the range is at most one [width](Histogram::width) too long, which is
/// less than `max|x| * 4 / bins`. The order of the samples does not matter. Every value of an
/// observed tensor is read back from the device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PercentileConfig {
    /// Percentage of values within a bound, in (50, 100]; 99.99 by default.
    #[serde(deserialize_with = "deserialize_percentile")]
    pub percentile: f64,
    /// Number of bins, a power of two from 16 to 65536; 4096 by default.
    #[serde(deserialize_with = "histogram::deserialize_bins")]
    pub bins: usize,
}

impl Default for PercentileConfig {
    fn default() -> Self {
        Self {
            percentile: 99.99,
            bins: 4096,
        }
    }
}

fn deserialize_percentile<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    PERCENTILE.read(NAME, deserializer)
}

impl PercentileConfig {
    pub(super) fn validate(&self) -> Result<(), OutOfBounds> {
        PERCENTILE.check(NAME, self.percentile)?;
        histogram::check_bins(self.bins)
    }

    /// Returns the range of the counted values.
    ///
    /// # Errors
    ///
    /// If the histogram is empty.
    ///
    /// # Panics
    ///
    /// If the percentile is not in (50, 100].
    #[track_caller]
    pub fn range(&self, histogram: &Histogram) -> Result<Range, CalibrationError> {
        PERCENTILE.assert(NAME, self.percentile);
        let extremes = histogram.extremes();
        let (min, max) = extremes.ok_or(CalibrationError::NothingObserved)?;
        let total = histogram.total();
        let rank = ((self.percentile / 100.0 * total as f64).ceil() as u64).clamp(1, total);
        let counts = histogram.counts();
        let first = bin_of_rank(counts.iter().rev(), rank);
        let lower = histogram.edge(counts.len() - 1 - first);
        let upper = histogram.edge(bin_of_rank(counts.iter(), rank) + 1);
        // If an edge is not exact in f32 (it has few digits, but may underflow), rounding does not move it
        // past the values of its bin.
        let lower = lower.max(min as f64) as f32;
        let upper = upper.min(max as f64) as f32;
        Range::new(vec![lower], vec![upper])
    }
}

/// Returns the index of the bin that holds the value of a rank, counted from 1.
fn bin_of_rank<'a>(counts: impl Iterator<Item = &'a u64>, rank: u64) -> usize {
    let mut seen = 0;
    for (bin, count) in counts.enumerate() {
        seen += count;
        if seen >= rank {
            return bin;
        }
    }
    unreachable!("rank {rank} of {seen} values")
}
