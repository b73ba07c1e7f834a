use derive_more::From;
use serde::{Deserialize, Serialize};

use super::{
    EmaMinMaxConfig, HistogramConfig, MinMaxConfig, MseConfig, ObserverGranularity,
    PercentileConfig,
};
use crate::base::bounds::OutOfBounds;

/// Configuration of an [`Observer`](super::Observer): the method that computes the range of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, From)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ObserverConfig {
    /// Range from the smallest to the largest value.
    MinMax(MinMaxConfig),
    /// Moving averages of the smallest and largest value of each sample.
    EmaMinMax(EmaMinMaxConfig),
    /// Range between two percentiles.
    Percentile(PercentileConfig),
    /// Range from the smallest to the largest value, with a histogram for inspection.
    Histogram(HistogramConfig),
    /// Range with the least mean squared error of quantization.
    Mse(MseConfig),
}

impl ObserverConfig {
    /// Checks the fields, as `serde` does on deserialization.
    ///
    /// # Errors
    ///
    /// If a field is out of its range.
    pub fn validate(&self) -> Result<(), OutOfBounds> {
        match self {
            Self::MinMax(_) => Ok(()),
            Self::EmaMinMax(config) => config.validate(),
            Self::Percentile(config) => config.validate(),
            Self::Histogram(config) => config.validate(),
            Self::Mse(config) => config.validate(),
        }
    }

    /// Returns the values that share a range.
    pub fn granularity(&self) -> ObserverGranularity {
        match self {
            Self::MinMax(config) => config.granularity,
            Self::EmaMinMax(config) => config.granularity,
            Self::Percentile(_) | Self::Histogram(_) | Self::Mse(_) => {
                ObserverGranularity::PerTensor
            }
        }
    }

    /// Returns the number of bins of the observers with a histogram.
    pub(super) fn bins(&self) -> Option<usize> {
        match self {
            Self::MinMax(_) | Self::EmaMinMax(_) => None,
            Self::Percentile(config) => Some(config.bins),
            Self::Histogram(config) => Some(config.bins),
            Self::Mse(config) => Some(config.bins),
        }
    }
}
