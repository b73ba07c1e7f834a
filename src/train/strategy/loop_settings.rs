use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::train::{LearnerModel, metric::LossInput};

use crate::train::{
    callback::{CallbackList, TrainOutputOf},
    checkpoint::CheckpointPolicy,
    placement::Placement,
    training_data::Seek,
};

/// Settings of a training loop.
pub(super) struct LoopSettings<M: LearnerModel> {
    pub placement: Box<dyn Placement<M>>,
    /// Seed of random operations.
    pub seed: u64,
    pub checkpoints: Option<CheckpointPolicy>,
    /// Number of optimizer steps, if limited.
    pub max_steps: Option<usize>,
    /// Loss in the output of a batch.
    pub loss: fn(&TrainOutputOf<M>) -> LossInput,
    pub batch_weight: Option<BatchWeight<M>>,
    pub callbacks: Mutex<CallbackList<M>>,
    /// Seeks to the first batch of the training.
    pub seek: Option<Seek>,
}

/// Weight of a batch among those of a step.
pub(super) type BatchWeight<M> = Box<dyn Fn(&TrainOutputOf<M>) -> f64 + Send + Sync>;

impl<M: LearnerModel> LoopSettings<M> {
    /// Returns the weight of a batch with this output and number of items.
    pub fn batch_weight(&self, output: &TrainOutputOf<M>, items: usize) -> f64 {
        match &self.batch_weight {
            Some(weight) => Some(weight(output))
                .filter(|weight| weight.is_finite() && *weight > 0.0)
                .unwrap_or(0.0),
            // Batches of a loader that does not count items have equal weights.
            None => items.max(1) as f64,
        }
    }

    /// Returns `true` if the training depends on the number of steps taken.
    pub fn counts_steps(&self) -> bool {
        self.max_steps.is_some() || !self.callbacks().is_empty()
    }

    pub fn callbacks(&self) -> MutexGuard<'_, CallbackList<M>> {
        self.callbacks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
