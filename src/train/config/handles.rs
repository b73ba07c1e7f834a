use crate::{monitor::SharedErrorHistory, optim::LearningRateScale};

/// Values shared by the scheduler, the loop and the metrics of a training.
#[derive(Default)]
pub(in crate::train) struct TrainingHandles {
    /// Quantization errors, for [`QuantizationErrorMetric`](crate::train::QuantizationErrorMetric).
    pub history: SharedErrorHistory,
    /// Factor of the learning rate, which a [rule](crate::train::callback::MitigationRule) may
    /// lower.
    pub learning_rate: LearningRateScale,
}
