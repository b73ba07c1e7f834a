use core::ops::Bound::{Excluded, Included};

use serde::Deserializer;

use super::{CalibrationError, Histogram, Range};
use crate::base::bounds::{Bounds, OutOfBounds};

const PERCENTILE: Bounds = Bounds::new(Excluded(50.0), Included(100.0), "in (50, 100]");
const NAME: &str = "percentile";

/// Returns the percentile where none is given.
pub(super) fn percentile() -> f64 {
    99.99
}

pub(super) fn deserialize_percentile<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<f64, D::Error> {
    PERCENTILE.read(NAME, deserializer)
}

pub(super) fn check_percentile(percentile: f64) -> Result<(), OutOfBounds> {
    PERCENTILE.check(NAME, percentile)
}

/// Returns the range of the counted values between two percentiles.
///
/// # Errors
///
/// If the histogram is empty.
pub(super) fn range(percentile: f64, histogram: &Histogram) -> Result<Range, CalibrationError> {
    let extremes = histogram.extremes();
    let (min, max) = extremes.ok_or(CalibrationError::NothingObserved)?;
    let total = histogram.total();
    let rank = ((percentile / 100.0 * total as f64).ceil() as u64).clamp(1, total);
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
