use std::sync::Arc;

use burn::{
    tensor::TensorReadError,
    train::metric::{
        Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes,
        NumericEntry, SerializedEntry,
        state::{FormatOptions, NumericMetricState},
    },
};

use super::TokenLoss;

/// Mean loss of all tokens of an epoch, as the metric `Loss`.
///
/// `sum_b(tokens_b * mean_b) / sum_b(tokens_b)` over the batches `b`: the value does not depend on
/// the batch size or on the distribution of masks. Burn's
/// [`LossMetric`](burn::train::metric::LossMetric) is the mean of the batches' means. Use this
/// metric in its place; users of the metric `Loss` (early stopping, the best checkpoint) find it
/// under the same name.
///
/// A batch without counted tokens is ignored.
#[derive(Clone)]
pub struct TokenLossMetric {
    name: Arc<String>,
    state: NumericMetricState,
}

impl TokenLossMetric {
    /// Number of decimals.
    const PRECISION: usize = 4;

    /// Creates the metric.
    pub fn new() -> Self {
        Self {
            name: Arc::new("Loss".to_string()),
            state: NumericMetricState::default(),
        }
    }

    fn format(&self) -> FormatOptions {
        FormatOptions::new(self.name.clone()).precision(Self::PRECISION)
    }
}

impl Default for TokenLossMetric {
    fn default() -> Self {
        Self::new()
    }
}

impl Metric for TokenLossMetric {
    type Input = TokenLoss;

    fn update(
        &mut self,
        loss: &TokenLoss,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        let mean = loss.mean.clone().try_into_scalar::<f64>()?;
        self.state.update(mean, loss.tokens);
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

impl Numeric for TokenLossMetric {
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
