use core::ops::Bound::Included;

use serde::{Deserialize, Deserializer, Serialize};

use super::{CalibrationError, Histogram, Mapping, Range, StaticParams, histogram};
use crate::base::{
    bits::{check_bits, deserialize_bits},
    bounds::{Bounds, OutOfBounds, assert_valid},
};

/// Bounds of the number of clip ratios.
const CANDIDATES: Bounds = Bounds::new(Included(1.0), Included(10000.0), "1 to 10000");

/// Observer of the range with the least quantization error: `[r min, r max]` with the clip ratio `r` out
/// of `1/k, 2/k, .., 1` that minimizes
///
/// `mse(r) = sum_j n_j (c_j - Q_r(c_j))^2 / sum_j n_j`.
///
/// `min` and `max` are those of the stream, `Q_r` is the quantizer of
/// [`Range::static_params`] for the range, `n_j` the number of values in bin `j` of a histogram and `c_j`
/// its [centre](Histogram::centres). Of equal ratios the largest is taken.
///
/// `|x - Q(x)|` changes by at most the change of `x`, and every value is within half a
/// [width](Histogram::width) `w` of the centre of its bin. So `sqrt(mse)` is within `w / 2` of that
/// of the values themselves, and the ratio found is at most `w` worse than the best one.
///
/// The order of the samples does not matter. Every value of an observed tensor is read back from the
/// device; the search takes `k` times the number of bins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MseConfig {
    /// Bits of the codes that the range is for, 2 to 8; 8 by default.
    #[serde(deserialize_with = "deserialize_bits")]
    pub bits: u8,
    /// Mapping of codes to values; symmetric by default.
    pub mapping: Mapping,
    /// Number of clip ratios `k`, 1 to 10000; 100 by default.
    #[serde(deserialize_with = "deserialize_candidates")]
    pub candidates: usize,
    /// Number of bins, a power of two from 16 to 65536; 4096 by default.
    #[serde(deserialize_with = "histogram::deserialize_bins")]
    pub bins: usize,
}

impl Default for MseConfig {
    fn default() -> Self {
        Self {
            bits: 8,
            mapping: Mapping::Symmetric,
            candidates: 100,
            bins: 4096,
        }
    }
}

fn deserialize_candidates<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    CANDIDATES.read("candidates", deserializer)
}

impl MseConfig {
    pub(super) fn validate(&self) -> Result<(), OutOfBounds> {
        check_bits(self.bits)?;
        CANDIDATES.check("candidates", self.candidates)?;
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
    /// If a field is out of its range.
    #[track_caller]
    pub fn range(&self, histogram: &Histogram) -> Result<Range, CalibrationError> {
        assert_valid(self.validate());
        let extremes = histogram.extremes();
        let (min, max) = extremes.ok_or(CalibrationError::NothingObserved)?;
        let centres: Vec<(f64, u64)> = histogram.centres().collect();
        let mut best = (f64::INFINITY, Range::new(vec![min], vec![max])?);
        for candidate in (1..=self.candidates).rev() {
            let range = self.clipped(min, max, candidate)?;
            let error = squared_error(&centres, &range.static_params(self.bits, self.mapping));
            if error < best.0 {
                best = (error, range);
            }
        }
        Ok(best.1)
    }

    /// Returns the range of the clip ratio `candidate / candidates`.
    fn clipped(&self, min: f32, max: f32, candidate: usize) -> Result<Range, CalibrationError> {
        let ratio = candidate as f64 / self.candidates as f64;
        let clip = |bound: f32| vec![(ratio * bound as f64) as f32];
        Range::new(clip(min), clip(max))
    }
}

fn squared_error(centres: &[(f64, u64)], params: &StaticParams) -> f64 {
    let error =
        |&(centre, count): &(f64, u64)| count as f64 * (centre - params.quantized(centre)).powi(2);
    centres.iter().map(error).sum()
}
