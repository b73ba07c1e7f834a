use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BestMetric, TensorEntry, TrainingSettings, frozen_parameters::FrozenParameter};

/// Format name in the manifest of a checkpoint.
pub(super) const FORMAT: &str = "bitnet-burn checkpoint";
/// Version that is written, and the latest that is read.
pub(super) const VERSION: u64 = 3;

/// Position of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingPosition {
    /// Number of optimizer steps, including those that a callback skipped.
    pub step: usize,
    /// Epoch, from 1.
    pub epoch: usize,
    /// Number of batches of this epoch that were trained on.
    pub batches: usize,
}

impl TrainingPosition {
    /// Position before the first step.
    pub(in crate::train) const START: Self = Self {
        step: 0,
        epoch: 1,
        batches: 0,
    };
}

/// File of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Name in the folder of the checkpoint.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// CRC-32 of its contents.
    pub crc32: u32,
}

/// Validation metric by which the best checkpoint is chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricValue {
    /// Metric.
    pub metric: BestMetric,
    /// Value.
    pub value: f64,
}

/// End of a training before its last epoch, such as by early stopping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingOver {
    /// Callback that ended it.
    pub source: String,
    /// Reason.
    pub reason: String,
    /// Requested number of epochs.
    pub num_epochs: usize,
}

/// Contents of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointManifest {
    pub(super) format: String,
    pub(super) version: u64,
    /// Position of the training.
    pub position: TrainingPosition,
    /// Fingerprint of the run, as set by the caller.
    pub fingerprint: String,
    /// Settings of the training.
    pub settings: TrainingSettings,
    /// Parameters of the model.
    pub tensors: Vec<TensorEntry>,
    /// Those that the checkpoint leaves out, as they do not train.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frozen: Vec<FrozenParameter>,
    /// Metric by which the best checkpoint is kept, if its value was known and finite.
    pub metric: Option<MetricValue>,
    /// Reason for the end of the training, if it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<TrainingOver>,
    /// Files next to the manifest.
    pub files: Vec<FileEntry>,
    /// States of callbacks, by name.
    pub callbacks: BTreeMap<String, serde_json::Value>,
}

impl CheckpointManifest {
    /// Creates the manifest of a training that goes on, without the files.
    pub(in crate::train) fn new(
        position: TrainingPosition,
        fingerprint: &str,
        settings: &TrainingSettings,
        tensors: &[TensorEntry],
        callbacks: BTreeMap<String, serde_json::Value>,
    ) -> Self {
        Self {
            format: FORMAT.to_string(),
            version: VERSION,
            position,
            fingerprint: fingerprint.to_string(),
            settings: settings.clone(),
            tensors: tensors.to_vec(),
            frozen: Vec::new(),
            metric: None,
            over: None,
            files: Vec::new(),
            callbacks,
        }
    }
}
