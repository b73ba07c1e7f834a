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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_says_each_choice_by_name_and_missing_fields_are_the_defaults() {
        for (config, json) in [
            (
                ObserverConfig::MinMax(MinMaxConfig::default()),
                serde_json::json!({"min_max": {"granularity": "per_tensor"}}),
            ),
            (
                EmaMinMaxConfig::default().into(),
                serde_json::json!({"ema_min_max": {"momentum": 0.99, "granularity": "per_tensor"}}),
            ),
            (
                PercentileConfig::default().into(),
                serde_json::json!({"percentile": {"percentile": 99.99, "bins": 4096}}),
            ),
            (
                HistogramConfig::default().into(),
                serde_json::json!({"histogram": {"bins": 4096}}),
            ),
            (
                MseConfig::default().into(),
                serde_json::json!({"mse": {
                    "bits": 8, "mapping": "symmetric", "candidates": 100, "bins": 4096,
                }}),
            ),
        ] {
            assert_eq!(serde_json::to_value(&config).unwrap(), json);
            let name = json.as_object().unwrap().keys().next().unwrap().clone();
            let read: ObserverConfig = serde_json::from_value(json).unwrap();
            assert_eq!(read, config);
            let empty = serde_json::json!({name: {}});
            assert_eq!(
                serde_json::from_value::<ObserverConfig>(empty).unwrap(),
                config
            );
        }
    }

    #[test]
    fn a_field_out_of_its_range_is_refused_when_read() {
        for (json, message) in [
            (
                r#"{"ema_min_max": {"momentum": 1.0}}"#,
                "momentum must be in [0, 1), got 1",
            ),
            (
                r#"{"histogram": {"bins": 24}}"#,
                "a power of two from 16 to 65536, got 24",
            ),
            (
                r#"{"min_max": {"momentum": 0.5}}"#,
                "unknown field `momentum`",
            ),
            (r#"{"entropy": {}}"#, "unknown variant `entropy`"),
        ] {
            let error = serde_json::from_str::<ObserverConfig>(json).unwrap_err();
            assert!(error.to_string().contains(message), "{json}: {error}");
        }
    }

    #[test]
    #[should_panic(expected = "momentum must be in [0, 1), got 1.5")]
    fn a_field_out_of_its_range_panics_at_init() {
        let config = EmaMinMaxConfig {
            momentum: 1.5,
            ..EmaMinMaxConfig::default()
        };
        ObserverConfig::from(config).init();
    }
}
