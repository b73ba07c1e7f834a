use burn::{
    data::dataloader::Progress,
    tensor::TensorReadError,
    train::metric::{Adaptor, LossInput, LossMetric, Metric, MetricMetadata, Numeric},
};

/// The loss in the output of a step. It is private to Burn's metric, which computes it here.
pub(super) fn loss_of(output: &impl Adaptor<LossInput>) -> Result<f64, TensorReadError> {
    let mut metric = LossMetric::new();
    let metadata = MetricMetadata {
        progress: Progress::new(1, 1, None),
        iteration: None,
        lr: None,
    };
    metric.update(&output.adapt(), &metadata)?;
    Ok(metric.value().map_or(f64::NAN, |value| value.current()))
}
