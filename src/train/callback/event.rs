use core::fmt;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Something that happened in a training and is worth a line in its log: a step that was skipped, a
/// checkpoint, a change of the quantisation, with its reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingEvent {
    /// Optimizer steps taken until then.
    pub step: usize,
    /// The epoch, from 1.
    pub epoch: usize,
    /// Who says so: the name of a callback, or `checkpoint` or `training`.
    pub source: String,
    /// What happened.
    pub message: String,
    /// Numbers that belong to it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, f64>,
}

impl TrainingEvent {
    /// Source of what is said of checkpoints.
    pub(in crate::train) const CHECKPOINT: &'static str = "checkpoint";

    /// The message about a checkpoint that was written.
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
