use crate::{optim::LearningRateScale, train::SharedErrorHistory};

/// Values shared by the parts of a training: pass the same ones to the
/// [scheduler](super::TrainingConfig::scheduler), the [loop](super::TrainingConfig::strategy) and
/// metrics.
#[derive(Debug, Clone, Default)]
pub struct TrainingHandles {
    /// Quantization errors, for [`QuantizationErrorMetric`](crate::train::QuantizationErrorMetric).
    pub history: SharedErrorHistory,
    /// Factor of the learning rate, which a [rule](crate::train::callback::MitigationRule) may
    /// lower.
    pub learning_rate: LearningRateScale,
}
