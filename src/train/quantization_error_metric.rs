use std::sync::Arc;

use burn::tensor::TensorReadError;

use super::mean_metric::{BatchValue, MeanMetric};
use crate::{monitor::SharedErrorHistory, qat::QuantizationError};

/// Value of the latest report of an [`ErrorHistory`](crate::monitor::ErrorHistory) as a metric of
/// any model, independent of its output.
///
/// Register it for training, next to an [`ErrorMonitor`](super::callback::ErrorMonitor) with the same
/// history. Dashboards, loggers, early stopping and checkpoint strategies can use it like any
/// metric.
///
/// # Aggregation
///
/// Mean over the layers with such a value, and over the reports of the epoch, each weighted by the
/// number of batches until the next. NaN before the first report.
pub type QuantizationErrorMetric = MeanMetric<LatestError>;

/// Mean of a value over the layers of the latest report.
#[derive(Clone)]
pub struct LatestError {
    history: SharedErrorHistory,
    value: fn(&QuantizationError) -> Option<f64>,
    path: Option<String>,
}

impl QuantizationErrorMetric {
    fn latest(
        name: &str,
        history: &SharedErrorHistory,
        value: fn(&QuantizationError) -> Option<f64>,
    ) -> Self {
        let latest = LatestError {
            history: history.clone(),
            value,
            path: None,
        };
        Self::of_values(name, latest)
    }

    fn sqnr(mut self) -> Self {
        self.unit = Some("dB");
        self.higher_is_better = true;
        self
    }

    /// Returns the metric of the SQNR of weights, in dB.
    pub fn weight_sqnr(history: &SharedErrorHistory) -> Self {
        let value = |error: &QuantizationError| error.sqnr_db.filter(|_| error.is_weight);
        Self::latest("Weight SQNR", history, value).sqnr()
    }

    /// Returns the metric of the SQNR of activations, in dB.
    pub fn activation_sqnr(history: &SharedErrorHistory) -> Self {
        let value = |error: &QuantizationError| error.sqnr_db.filter(|_| !error.is_weight);
        Self::latest("Activation SQNR", history, value).sqnr()
    }

    /// Returns the metric of the fraction of weights that are zero.
    pub fn zero_fraction(history: &SharedErrorHistory) -> Self {
        let value = |error: &QuantizationError| error.is_weight.then_some(error.zero_fraction);
        Self::latest("Zero weights", history, value)
    }

    /// Returns the metric of the fraction of weights whose code changed since the last measurement.
    pub fn flip_rate(history: &SharedErrorHistory) -> Self {
        Self::latest("Flip rate", history, |error| error.flip_rate)
    }

    /// Returns the metric of the fraction of activations beyond the range of their quantizer.
    pub fn clipping_rate(history: &SharedErrorHistory) -> Self {
        let value = |error: &QuantizationError| (!error.is_weight).then_some(error.clipping_rate);
        Self::latest("Clipping rate", history, value)
    }

    /// Restricts the metric to one quantizer, by its path.
    #[must_use]
    pub fn of(mut self, path: &str) -> Self {
        self.name = Arc::new(format!("{} {path}", self.name));
        self.value.path = Some(path.to_string());
        self
    }
}

impl BatchValue for LatestError {
    type Input = ();

    fn read(&self, _output: &()) -> Result<(f64, usize), TensorReadError> {
        let mean = self.history.with(|history| {
            let report = history.reports.last()?;
            let path = self.path.as_deref();
            let layers = report.layers.iter();
            let values: Vec<f64> = layers
                .filter(|layer| path.is_none_or(|path| layer.path == path))
                .filter_map(self.value)
                .collect();
            Some(values.iter().sum::<f64>() / values.len() as f64)
        });
        Ok((mean.unwrap_or(f64::NAN), 1))
    }
}
