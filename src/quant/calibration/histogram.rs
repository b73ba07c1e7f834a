use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::CalibrationError;
use crate::base::bounds::{OutOfBounds, assert_valid};

/// Returns the number of bins where none is given.
pub(super) fn bins() -> usize {
    4096
}

pub(super) fn deserialize_bins<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<usize, D::Error> {
    let bins = usize::deserialize(deserializer)?;
    check_bins(bins).map_err(D::Error::custom)?;
    Ok(bins)
}

pub(super) fn check_bins(bins: usize) -> Result<(), OutOfBounds> {
    let holds = (16..=65536).contains(&bins) && bins.is_power_of_two();
    let expected = "a power of two from 16 to 65536";
    OutOfBounds::unless(holds, "bins", expected, bins)
}

/// Counts of values in bins of equal width.
///
/// Of `n` bins, bin `j` counts the values in `[(j - n/2) w, (j - n/2 + 1) w)`. The width `w` is the
/// smallest power of two with which the bins hold the largest magnitude seen: `max|x| < w n / 2`. For a
/// larger magnitude, `w` doubles repeatedly, and each time two neighboring bins are merged. This is exact,
/// because bins start at multiples of their width: the counts are those of all values in the final bins, in
/// any order. PyTorch's `HistogramObserver` is similar, but spreads the counts of an old bin over new ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct Histogram {
    /// Exponent of a bound on the magnitudes, which are less than `2^exponent`.
    exponent: i32,
    counts: Vec<u64>,
    /// Smallest value; above the largest in an empty histogram.
    min: f32,
    max: f32,
}

/// Exponents from the smallest of any nonzero `f32` to the one above all finite `f32`.
const EXPONENTS: core::ops::RangeInclusive<i32> = -149..=128;

impl Histogram {
    /// Creates an empty histogram.
    ///
    /// # Panics
    ///
    /// If the number of bins is not a power of two from 16 to 65536.
    #[track_caller]
    pub fn new(bins: usize) -> Self {
        assert_valid(check_bins(bins));
        Self {
            exponent: *EXPONENTS.start(),
            counts: vec![0; bins],
            min: f32::MAX,
            max: f32::MIN,
        }
    }

    /// Counts values; NaN and infinities are left out.
    ///
    /// Returns the number of values counted.
    pub fn extend(&mut self, values: &[f32]) -> u64 {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let largest = finite().fold(0.0f32, |largest, value| largest.max(value.abs()));
        self.grow(exponent_above(largest));
        let (width, middle) = (self.width(), self.middle());
        let mut counted = 0;
        for value in finite() {
            self.min = self.min.min(value);
            self.max = self.max.max(value);
            self.counts[(bin(value, width) + middle) as usize] += 1;
            counted += 1;
        }
        counted
    }

    /// Adds the counts of another histogram with the same number of bins.
    ///
    /// # Panics
    ///
    /// If the numbers of bins differ.
    #[track_caller]
    pub fn merge(&mut self, other: &Self) {
        let (bins, others) = (self.counts.len(), other.counts.len());
        assert_eq!(bins, others, "histograms of {bins} and {others} bins");
        let mut other = other.clone();
        let exponent = self.exponent.max(other.exponent);
        self.grow(exponent);
        other.grow(exponent);
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Returns the number of values.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the counts of all bins.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Returns the width of a bin, a power of two.
    pub fn width(&self) -> f64 {
        2.0f64.powi(self.exponent) / self.middle() as f64
    }

    /// Returns the lower edge of a bin.
    pub fn edge(&self, bin: usize) -> f64 {
        (bin as i64 - self.middle()) as f64 * self.width()
    }

    /// Returns the smallest and largest value, or `None` if the histogram is empty.
    pub fn extremes(&self) -> Option<(f32, f32)> {
        (self.min <= self.max).then_some((self.min, self.max))
    }

    /// Returns the middle of each bin with values, clamped to the extremes, and their number.
    ///
    /// Every value of the bin is within half a width of it.
    pub fn centres(&self) -> impl Iterator<Item = (f64, u64)> {
        let (min, max, half) = (self.min as f64, self.max as f64, self.width() / 2.0);
        let counts = self.counts.iter().enumerate();
        let filled = counts.filter(|&(_, &count)| count > 0);
        filled.map(move |(bin, &count)| ((self.edge(bin) + half).clamp(min, max), count))
    }

    /// Returns the number of bins below zero.
    fn middle(&self) -> i64 {
        self.counts.len() as i64 / 2
    }

    /// Doubles the width until magnitudes up to `2^exponent` fit.
    fn grow(&mut self, exponent: i32) {
        if exponent <= self.exponent {
            return;
        }
        let middle = self.middle();
        let doublings = (exponent - self.exponent).min(i64::BITS as i32 - 1);
        let mut counts = vec![0; self.counts.len()];
        for (bin, count) in self.counts.iter().enumerate() {
            // Shifting a negative number rounds down, as bins do.
            counts[(((bin as i64 - middle) >> doublings) + middle) as usize] += count;
        }
        self.counts = counts;
        self.exponent = exponent;
    }
}

/// Returns the index of the bin of a value, counted from zero. Exact: a power of two divides exactly.
fn bin(value: f32, width: f64) -> i64 {
    (value as f64 / width).floor() as i64
}

/// Returns the smallest exponent with `magnitude < 2^exponent`.
fn exponent_above(magnitude: f32) -> i32 {
    if magnitude == 0.0 {
        return *EXPONENTS.start();
    }
    // Every f32 is normal as f64, which holds its exponent.
    let biased = ((magnitude as f64).to_bits() >> 52) as i32;
    biased - 1023 + 1
}

/// A deserialized histogram before validation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    exponent: i32,
    counts: Vec<u64>,
    min: f32,
    max: f32,
}

impl TryFrom<Fields> for Histogram {
    type Error = CalibrationError;

    fn try_from(fields: Fields) -> Result<Self, CalibrationError> {
        let state = |valid: bool, what| match valid {
            true => Ok(()),
            false => Err(CalibrationError::State(what)),
        };
        let Fields {
            exponent,
            counts,
            min,
            max,
        } = fields;
        check_bins(counts.len())?;
        state(EXPONENTS.contains(&exponent), "an exponent that no f32 has")?;
        let total = counts.iter().try_fold(0u64, |sum, &n| sum.checked_add(n));
        state(total.is_some(), "more counts than can be")?;
        let histogram = Self {
            exponent,
            counts,
            min,
            max,
        };
        state(histogram.is_consistent(), "extremes outside of the counts")?;
        Ok(histogram)
    }
}

impl Histogram {
    /// Returns whether the extremes lie in the outermost bins with values.
    fn is_consistent(&self) -> bool {
        let bin = |value: f32| bin(value, self.width()) + self.middle();
        let filled = |&count: &u64| count > 0;
        let first = self.counts.iter().position(filled).map(|bin| bin as i64);
        let last = self.counts.iter().rposition(filled).map(|bin| bin as i64);
        match self.extremes() {
            Some((min, max)) => first == Some(bin(min)) && last == Some(bin(max)),
            None => first.is_none() && (self.min, self.max) == (f32::MAX, f32::MIN),
        }
    }
}
