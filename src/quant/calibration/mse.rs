use core::ops::Bound::Included;

use serde::Deserializer;

use super::{CalibrationError, Histogram, Mapping, Range, StaticParams};
use crate::base::{
    bits::check_bits,
    bounds::{Bounds, OutOfBounds},
};

/// Bounds of the number of clip ratios.
const CANDIDATES: Bounds = Bounds::new(Included(1.0), Included(10000.0), "1 to 10000");

/// Search of the range with the least error of quantization, as
/// [`ObserverConfig::Mse`](super::ObserverConfig::Mse) defines.
#[derive(Debug, Clone, Copy)]
pub(super) struct MseSearch {
    /// Bits of the codes that the range is for.
    pub(super) bits: u8,
    /// Mapping of codes to values.
    pub(super) mapping: Mapping,
    /// Number of clip ratios.
    pub(super) candidates: usize,
}

/// Returns the number of bits where none is given.
pub(super) fn bits() -> u8 {
    8
}

/// Returns the number of clip ratios where none is given.
pub(super) fn candidates() -> usize {
    100
}

pub(super) fn deserialize_candidates<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<usize, D::Error> {
    CANDIDATES.read("candidates", deserializer)
}

pub(super) fn check(bits: u8, candidates: usize) -> Result<(), OutOfBounds> {
    check_bits(bits)?;
    CANDIDATES.check("candidates", candidates)
}

impl MseSearch {
    /// Returns the range of the counted values.
    ///
    /// # Errors
    ///
    /// If the histogram is empty.
    pub(super) fn range(&self, histogram: &Histogram) -> Result<Range, CalibrationError> {
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
