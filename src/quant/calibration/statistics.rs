use serde::{Deserialize, Serialize};

use super::{
    Histogram, ObserverConfig, ObserverGranularity, ema_min_max::EmaMinMax, min_max::MinMax,
};

/// State of an observer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Statistics {
    MinMax(MinMax),
    EmaMinMax(EmaMinMax),
    Histogram(Histogram),
}

impl Statistics {
    /// Creates the state without samples.
    pub(super) fn new(config: &ObserverConfig) -> Self {
        match (config, config.bins()) {
            (_, Some(bins)) => Self::Histogram(Histogram::new(bins)),
            (ObserverConfig::EmaMinMax { .. }, None) => Self::EmaMinMax(EmaMinMax::default()),
            (_, None) => Self::MinMax(MinMax::default()),
        }
    }

    /// Returns the number of ranges, if it is known from a sample.
    pub(super) fn num_ranges(&self) -> Option<usize> {
        match self.num_bounds() {
            (0, _) => None,
            (num_ranges, _) => Some(num_ranges),
        }
    }

    /// Returns the numbers of lower and of upper bounds.
    fn num_bounds(&self) -> (usize, usize) {
        match self {
            Self::MinMax(bounds) => (bounds.min.len(), bounds.max.len()),
            Self::EmaMinMax(bounds) => (bounds.min.len(), bounds.max.len()),
            Self::Histogram(_) => (1, 1),
        }
    }

    /// Returns the reason why this state contradicts its numbers of samples and of finite values.
    pub(super) fn contradiction(
        &self,
        config: &ObserverConfig,
        samples: u64,
        finite: u64,
    ) -> Option<&'static str> {
        if core::mem::discriminant(self) != core::mem::discriminant(&Self::new(config)) {
            return Some("statistics of another observer than configured");
        }
        if let Self::Histogram(histogram) = self {
            if config.bins() != Some(histogram.counts().len()) {
                return Some("another number of bins than configured");
            }
            let all_counted = histogram.total() == finite;
            return (!all_counted).then_some("not as many counts as finite values");
        }
        let (min, max) = self.num_bounds();
        if min != max {
            return Some("not as many lower as upper bounds");
        }
        if (min > 0) != (samples > 0) {
            return Some("bounds without samples, or samples without bounds");
        }
        let one_range = config.granularity() == ObserverGranularity::PerTensor;
        (one_range && min > 1).then_some("bounds of channels where one range is configured")
    }
}
