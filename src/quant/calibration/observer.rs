use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{
    CalibrationError, Histogram, ObserverConfig, Range, ema_min_max::EmaMinMax, extremes::Extremes,
    min_max::MinMax, percentile, statistics::Statistics,
};
use crate::base::bounds::assert_valid;

/// Observes a stream of tensors and computes the range of their values.
///
/// A sample is one tensor, such as the input of a layer for one batch. NaN and infinite values are left
/// out of the statistics and counted; [`range`](Self::range) returns an error if there was one. For
/// Burn's own calibration of a single tensor, see
/// [`Calibration`](burn::tensor::quantization::Calibration).
///
/// The state serializes with `serde`, and a deserialized observer resumes where it stopped.
///
/// # Example
///
/// ```
/// use bitnet_burn::quant::calibration::{Mapping, ObserverConfig};
/// use burn::tensor::{Device, Tensor};
///
/// let mut observer = ObserverConfig::min_max().init();
/// for batch in [[-0.5, 2.0], [-2.54, 1.0]] {
///     observer.observe(Tensor::<1>::from_floats(batch, &Device::default()))?;
/// }
/// let params = observer.range()?.static_params(8, Mapping::Symmetric);
/// assert_eq!(params.step, [0.02]);
/// # Ok::<(), bitnet_burn::quant::calibration::CalibrationError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct Observer {
    config: ObserverConfig,
    samples: u64,
    finite: u64,
    non_finite: u64,
    statistics: Statistics,
}

impl ObserverConfig {
    /// Creates an observer without samples.
    ///
    /// # Panics
    ///
    /// If a field is out of its range.
    #[track_caller]
    pub fn init(&self) -> Observer {
        assert_valid(self.validate());
        Observer {
            statistics: Statistics::new(self),
            config: self.clone(),
            samples: 0,
            finite: 0,
            non_finite: 0,
        }
    }
}

impl Observer {
    /// Observes a tensor as one sample; an empty one is skipped.
    ///
    /// The min-max observers reduce it on its device and read the bounds back, in one transfer. The
    /// others read all of its values back.
    ///
    /// # Shapes
    ///
    /// - tensor: `[.., channels]`, of any float type
    ///
    /// # Errors
    ///
    /// If the values cannot be read back from the device. Nothing is observed then.
    ///
    /// # Panics
    ///
    /// If channels have their own ranges and their number differs from earlier samples.
    #[track_caller]
    pub fn observe<const D: usize>(&mut self, tensor: Tensor<D>) -> Result<(), CalibrationError> {
        let num_values = tensor.shape().num_elements();
        if num_values == 0 {
            return Ok(());
        }
        let tensor = tensor.detach();
        if let Statistics::Histogram(_) = self.statistics {
            self.observe_values(&tensor.try_into_vec_as::<f32>()?, 1);
        } else {
            let sample = Extremes::of_tensor(tensor, self.config.granularity())?;
            self.record(&sample);
        }
        Ok(())
    }

    /// Observes values on the host as one sample; an empty slice is skipped.
    ///
    /// # Shapes
    ///
    /// - values: `[.., channels]`, row-major
    ///
    /// # Panics
    ///
    /// If the number of values is not a multiple of `channels`, or channels have their own ranges
    /// and their number differs from earlier samples.
    #[track_caller]
    pub fn observe_values(&mut self, values: &[f32], channels: usize) {
        assert!(
            channels > 0 && values.len().is_multiple_of(channels),
            "{} values are no rows of {channels} channels",
            values.len()
        );
        if values.is_empty() {
            return;
        }
        if let Statistics::Histogram(histogram) = &mut self.statistics {
            let finite = histogram.extend(values);
            self.finite += finite;
            self.non_finite += values.len() as u64 - finite;
            self.samples += 1;
        } else {
            let num_ranges = self.config.granularity().num_ranges(channels);
            self.record(&Extremes::of_values(values, num_ranges));
        }
    }

    /// Adds the bounds of a sample.
    #[track_caller]
    fn record(&mut self, sample: &Extremes) {
        let (before, now) = (self.statistics.num_ranges(), sample.min.len());
        assert!(
            before.is_none_or(|before| before == now),
            "the observer has seen {} channels before, got {now}",
            before.unwrap_or_default()
        );
        match (&self.config, &mut self.statistics) {
            (_, Statistics::MinMax(bounds)) => bounds.widen(&sample.min, &sample.max),
            (ObserverConfig::EmaMinMax { momentum, .. }, Statistics::EmaMinMax(bounds)) => {
                bounds.update(sample, *momentum)
            }
            _ => unreachable!("a histogram takes values"),
        }
        self.finite += sample.finite;
        self.non_finite += sample.non_finite;
        self.samples += 1;
    }

    /// Returns the range of the observed values.
    ///
    /// # Errors
    ///
    /// If nothing was observed, or a value was not finite.
    pub fn range(&self) -> Result<Range, CalibrationError> {
        if self.non_finite > 0 {
            return Err(CalibrationError::NonFinite {
                non_finite: self.non_finite,
                finite: self.finite,
            });
        }
        if self.samples == 0 {
            return Err(CalibrationError::NothingObserved);
        }
        match (&self.config, &self.statistics) {
            (_, Statistics::MinMax(MinMax { min, max })) => Range::new(min.clone(), max.clone()),
            (_, Statistics::EmaMinMax(EmaMinMax { min, max })) => {
                let narrow = |bounds: &[f64]| bounds.iter().map(|&bound| bound as f32).collect();
                Range::new(narrow(min), narrow(max))
            }
            (ObserverConfig::Percentile { percentile, .. }, Statistics::Histogram(counts)) => {
                percentile::range(*percentile, counts)
            }
            (_, Statistics::Histogram(counts)) => {
                if let Some(search) = self.config.search() {
                    return search.range(counts);
                }
                let extremes = counts.extremes();
                let (min, max) = extremes.ok_or(CalibrationError::NothingObserved)?;
                Range::new(vec![min], vec![max])
            }
        }
    }

    /// Merges the state of another observer of the same configuration, such as that of another worker.
    ///
    /// The result is that of one observer of both streams.
    ///
    /// # Errors
    ///
    /// If the configurations or the numbers of channels differ, or the result would depend on the
    /// order of the samples, as with moving averages. Nothing is changed then.
    pub fn merge(&mut self, other: &Self) -> Result<(), CalibrationError> {
        if self.config != other.config {
            return Err(CalibrationError::Merge("their configurations differ"));
        }
        let channels = self
            .statistics
            .num_ranges()
            .zip(other.statistics.num_ranges());
        if channels.is_some_and(|(ours, theirs)| ours != theirs) {
            return Err(CalibrationError::Merge("their numbers of channels differ"));
        }
        match (&mut self.statistics, &other.statistics) {
            (Statistics::MinMax(ours), Statistics::MinMax(theirs)) => {
                ours.widen(&theirs.min, &theirs.max)
            }
            (Statistics::Histogram(ours), Statistics::Histogram(theirs)) => ours.merge(theirs),
            _ => {
                return Err(CalibrationError::Merge(
                    "moving averages depend on the order of the samples",
                ));
            }
        }
        self.samples += other.samples;
        self.finite += other.finite;
        self.non_finite += other.non_finite;
        Ok(())
    }

    /// Returns the configuration.
    pub fn config(&self) -> &ObserverConfig {
        &self.config
    }

    /// Returns the number of samples observed.
    pub fn num_samples(&self) -> u64 {
        self.samples
    }

    /// Returns the number of NaN and infinite values observed.
    pub fn num_non_finite(&self) -> u64 {
        self.non_finite
    }

    /// Returns the histogram, or `None` if the observer has none.
    pub fn histogram(&self) -> Option<&Histogram> {
        match &self.statistics {
            Statistics::Histogram(histogram) => Some(histogram),
            _ => None,
        }
    }
}

/// A deserialized observer before validation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    config: ObserverConfig,
    samples: u64,
    finite: u64,
    non_finite: u64,
    statistics: Statistics,
}

impl TryFrom<Fields> for Observer {
    type Error = CalibrationError;

    fn try_from(fields: Fields) -> Result<Self, CalibrationError> {
        let observer = Self {
            config: fields.config,
            samples: fields.samples,
            finite: fields.finite,
            non_finite: fields.non_finite,
            statistics: fields.statistics,
        };
        let (samples, finite) = (observer.samples, observer.finite);
        let contradiction = (observer.statistics).contradiction(&observer.config, samples, finite);
        if let Some(what) = contradiction {
            return Err(CalibrationError::State(what));
        }
        if samples == 0 && (finite > 0 || observer.non_finite > 0) {
            return Err(CalibrationError::State("values without samples"));
        }
        Ok(observer)
    }
}
