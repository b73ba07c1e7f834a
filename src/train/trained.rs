use super::checkpoint::{BestCheckpoint, TrainingOver};
use crate::monitor::ErrorHistory;

/// Result of [`Trainer::train`](super::Trainer::train).
#[derive(Debug)]
pub struct Trained<M> {
    /// Trained model after its last step, for inference.
    pub model: M,
    /// Best checkpoint of the run, if the
    /// [policy](super::checkpoint::CheckpointPolicy::keep_best) keeps one.
    pub best: Option<BestCheckpoint>,
    /// Quantization errors, if the configuration measures them.
    pub history: ErrorHistory,
    /// Steps, losses and times.
    pub report: TrainingReport,
}

/// Steps, losses and times of a training.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrainingReport {
    /// Number of optimizer steps of the whole training so far.
    pub steps: usize,
    /// Number of steps in this process, after the checkpoint it was resumed from.
    pub steps_here: usize,
    /// Duration of these steps in seconds, without validation.
    pub seconds: f64,
    /// Loss of the last step, if all steps were taken.
    pub train_loss: Option<f64>,
    /// Metric `Loss` of the last validation.
    pub valid_loss: Option<f64>,
    /// `true` if the training came to its end, by its steps or its epochs, with the validation there.
    pub is_complete: bool,
    /// Reason for the final end of the training before its last epoch, such as early stopping.
    pub over: Option<TrainingOver>,
}
