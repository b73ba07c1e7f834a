use std::sync::Arc;

use burn::{
    tensor::TensorReadError,
    train::metric::{
        Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes,
        NumericEntry, SerializedEntry,
        state::{FormatOptions, NumericMetricState},
    },
};

/// Number of decimals.
const PRECISION: usize = 4;

/// Source of the values of a [`MeanMetric`].
pub trait BatchValue: Clone + Send + Sync {
    /// Output of a step.
    type Input;

    /// Returns the value of a batch and its weight in the mean.
    fn read(&self, input: &Self::Input) -> Result<(f64, usize), TensorReadError>;
}

/// Metric that is a weighted mean over the batches of an epoch.
#[derive(Clone)]
pub struct MeanMetric<V> {
    pub(super) name: Arc<String>,
    pub(super) unit: Option<&'static str>,
    pub(super) higher_is_better: bool,
    pub(super) value: V,
    state: NumericMetricState,
}

impl<V> MeanMetric<V> {
    /// Creates a metric without a unit whose smaller values are better.
    pub(super) fn of_values(name: &str, value: V) -> Self {
        Self {
            name: Arc::new(name.to_string()),
            unit: None,
            higher_is_better: false,
            value,
            state: NumericMetricState::default(),
        }
    }

    fn format(&self) -> FormatOptions {
        let options = FormatOptions::new(self.name.clone()).precision(PRECISION);
        match self.unit {
            Some(unit) => options.unit(unit),
            None => options,
        }
    }
}

impl<V: BatchValue> Metric for MeanMetric<V> {
    type Input = V::Input;

    fn update(
        &mut self,
        input: &V::Input,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        let (value, weight) = self.value.read(input)?;
        self.state.update(value, weight);
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

impl<V: BatchValue> Numeric for MeanMetric<V> {
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
