use core::fmt;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Event of a training for its log: a skipped step, a checkpoint, or a change of the quantization,
/// with its reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingEvent {
    /// Number of optimizer steps taken so far.
    pub step: usize,
    /// Epoch, from 1.
    pub epoch: usize,
    /// Source of the event: the name of a callback, or `checkpoint` or `training`.
    pub source: String,
    /// Message.
    pub message: String,
    /// Numeric values of the event.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, f64>,
}

impl TrainingEvent {
    /// Source of events about checkpoints.
    pub(in crate::train) const CHECKPOINT: &'static str = "checkpoint";

    /// Returns the message about a written checkpoint.
    pub(in crate::train) fn saved(step: usize) -> String {
        format!("step {step} is saved")
    }
}

impl fmt::Display for TrainingEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}, {}: {}", self.step, self.source, self.message)?;
        for (name, value) in &self.values {
            write!(f, ", {name} {value}")?;
        }
        Ok(())
    }
}
