use std::sync::{Arc, Mutex, PoisonError};

use burn::{
    tensor::TensorReadError,
    train::metric::{
        Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes,
        NumericEntry, SerializedEntry,
        state::{FormatOptions, NumericMetricState},
    },
};

use crate::{
    monitor::{ErrorHistory, ErrorReport},
    qat::QuantizationError,
};

/// Reports of a training, shared by the monitor that adds them and the metrics that read them.
#[derive(Debug, Clone, Default)]
pub struct SharedErrorHistory(Arc<Mutex<ErrorHistory>>);

impl SharedErrorHistory {
    /// Returns the reports so far.
    pub fn get(&self) -> ErrorHistory {
        self.with(|history| history.clone())
    }

    /// Returns the latest report.
    pub fn newest(&self) -> Option<ErrorReport> {
        self.with(|history| history.reports.last().cloned())
    }

    pub(super) fn with<T>(&self, f: impl FnOnce(&mut ErrorHistory) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Value of the latest [`ErrorReport`] as a metric of any model, independent of its output.
///
/// Register it for training, next to an [`ErrorMonitor`](super::callback::ErrorMonitor) with the same
/// history. Dashboards, loggers, early stopping and checkpoint strategies can use it like any
/// metric.
///
/// # Aggregation
///
/// Mean over the layers with such a value, and over the reports of the epoch, each weighted by the
/// number of batches until the next. NaN before the first report.
#[derive(Clone)]
pub struct QuantizationErrorMetric {
    name: Arc<String>,
    unit: Option<&'static str>,
    higher_is_better: bool,
    history: SharedErrorHistory,
    value: fn(&QuantizationError) -> Option<f64>,
    path: Option<String>,
    state: NumericMetricState,
}

impl QuantizationErrorMetric {
    fn new(
        name: &str,
        unit: Option<&'static str>,
        higher_is_better: bool,
        history: &SharedErrorHistory,
        value: fn(&QuantizationError) -> Option<f64>,
    ) -> Self {
        Self {
            name: Arc::new(name.to_string()),
            unit,
            higher_is_better,
            history: history.clone(),
            value,
            path: None,
            state: NumericMetricState::default(),
        }
    }

    /// Returns the metric of the SQNR of weights, in dB.
    pub fn weight_sqnr(history: &SharedErrorHistory) -> Self {
        let value = |error: &QuantizationError| error.sqnr_db.filter(|_| error.is_weight);
        Self::new("Weight SQNR", Some("dB"), true, history, value)
    }

    /// Returns the metric of the SQNR of activations, in dB.
    pub fn activation_sqnr(history: &SharedErrorHistory) -> Self {
        let value = |error: &QuantizationError| error.sqnr_db.filter(|_| !error.is_weight);
        Self::new("Activation SQNR", Some("dB"), true, history, value)
    }

    /// Returns the metric of the fraction of weights that are zero.
    pub fn zero_fraction(history: &SharedErrorHistory) -> Self {
        let value = |error: &QuantizationError| error.is_weight.then_some(error.zero_fraction);
        Self::new("Zero weights", None, false, history, value)
    }

    /// Returns the metric of the fraction of weights whose code changed since the last measurement.
    pub fn flip_rate(history: &SharedErrorHistory) -> Self {
        Self::new("Flip rate", None, false, history, |error| error.flip_rate)
    }

    /// Returns the metric of the fraction of activations beyond the range of their quantizer.
    pub fn clipping_rate(history: &SharedErrorHistory) -> Self {
        let value = |error: &QuantizationError| (!error.is_weight).then_some(error.clipping_rate);
        Self::new("Clipping rate", None, false, history, value)
    }

    /// Restricts the metric to one quantizer, by its path.
    #[must_use]
    pub fn of(mut self, path: &str) -> Self {
        self.name = Arc::new(format!("{} {path}", self.name));
        self.path = Some(path.to_string());
        self
    }

    fn newest(&self) -> f64 {
        self.history.with(|history| {
            let Some(report) = history.reports.last() else {
                return f64::NAN;
            };
            let path = self.path.as_deref();
            let layers = report.layers.iter();
            let values: Vec<f64> = layers
                .filter(|layer| path.is_none_or(|path| layer.path == path))
                .filter_map(self.value)
                .collect();
            values.iter().sum::<f64>() / values.len() as f64
        })
    }

    fn format(&self) -> FormatOptions {
        let options = FormatOptions::new(self.name.clone()).precision(4);
        match self.unit {
            Some(unit) => options.unit(unit),
            None => options,
        }
    }
}

impl Metric for QuantizationErrorMetric {
    type Input = ();

    fn update(
        &mut self,
        _item: &(),
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.state.update(self.newest(), 1);
        Ok(self.state.compute_update(self.format()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.state.compute_final(self.format()))
    }

    fn clear(&mut self) {
        self.state.reset();
    }

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes {
            unit: self.unit.map(str::to_string),
            higher_is_better: self.higher_is_better,
        }
        .into()
    }
}

impl Numeric for QuantizationErrorMetric {
    fn value(&self) -> Option<NumericEntry> {
        Some(self.state.current_value())
    }

    fn running_value(&self) -> Option<NumericEntry> {
        Some(self.state.running_value())
    }

    fn final_value(&self) -> NumericEntry {
        self.state.final_value()
    }
}
