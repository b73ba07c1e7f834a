use std::sync::Arc;

use burn::{
    tensor::{Tensor, TensorReadError},
    train::metric::{
        Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes,
        NumericEntry, SerializedEntry,
        state::{FormatOptions, NumericMetricState},
    },
};

use crate::loss::DistillationLosses;

/// Number of decimals; divergences of attention relations are small.
const PRECISION: usize = 4;

/// Unweighted part of a [`DistillationLoss`](crate::loss::DistillationLoss), as a metric of
/// training. NaN if the part is disabled.
///
/// # Aggregation
///
/// Mean over the positions of all batches that are not padding: each part is a mean over those of
/// its batch, and is weighted by their number. (A different mask of the task is not known here.)
#[derive(Clone)]
pub struct DistillationMetric {
    name: Arc<String>,
    part: fn(&DistillationLosses) -> Option<&Tensor<1>>,
    state: NumericMetricState,
}

impl DistillationMetric {
    fn new(name: &str, part: fn(&DistillationLosses) -> Option<&Tensor<1>>) -> Self {
        Self {
            name: Arc::new(name.to_string()),
            part,
            state: NumericMetricState::default(),
        }
    }

    /// Creates the metric of the student's own loss.
    pub fn task() -> Self {
        Self::new("Task loss", |losses| Some(&losses.task))
    }

    /// Creates the metric of the divergence of the logits.
    pub fn logits() -> Self {
        Self::new("Logits divergence", |losses| losses.logits.as_ref())
    }

    /// Creates the metric of the distance of the hidden states.
    pub fn hidden() -> Self {
        Self::new("Hidden distance", |losses| losses.hidden.as_ref())
    }

    /// Creates the metric of the divergence of the attention relations.
    pub fn attention() -> Self {
        Self::new("Attention divergence", |losses| losses.attention.as_ref())
    }

    fn format(&self) -> FormatOptions {
        FormatOptions::new(self.name.clone()).precision(PRECISION)
    }
}

impl Metric for DistillationMetric {
    type Input = DistillationLosses;

    fn update(
        &mut self,
        losses: &DistillationLosses,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        let value = match (self.part)(losses) {
            Some(part) => part.clone().try_into_scalar::<f64>()?,
            None => f64::NAN,
        };
        let tokens = losses.tokens.clone().try_into_scalar::<i64>()?;
        self.state.update(value, tokens.max(0) as usize);
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
            unit: None,
            higher_is_better: false,
        }
        .into()
    }
}

impl Numeric for DistillationMetric {
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
