use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BestMetric, TensorEntry, TrainingSettings};

/// What the manifest of a checkpoint says it is.
pub(super) const FORMAT: &str = "bitnet-burn checkpoint";
/// The version that is written, and the newest that is read.
pub(super) const VERSION: u64 = 3;

/// Where a training stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingPosition {
    /// Optimizer steps that were taken, those that a callback skipped among them.
    pub step: usize,
    /// The epoch, from 1.
    pub epoch: usize,
    /// Batches of this epoch that were trained on.
    pub batches: usize,
}

impl TrainingPosition {
    /// Before the first step.
    pub(in crate::train) const START: Self = Self {
        step: 0,
        epoch: 1,
        batches: 0,
    };
}

/// A file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Name in the folder of the checkpoint.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// CRC-32 of its contents.
    pub crc32: u32,
}

/// A metric of a validation, by which the best checkpoint is chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricValue {
    /// The metric.
    pub metric: BestMetric,
    /// Its value.
    pub value: f64,
}

/// The end of a training before its last epoch, such as by early stopping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingOver {
    /// The callback that ended it.
    pub source: String,
    /// Why it did.
    pub reason: String,
    /// The number of epochs that were asked for.
    pub num_epochs: usize,
}

/// What a checkpoint holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointManifest {
    pub(super) format: String,
    pub(super) version: u64,
    /// Where the training stood.
    pub position: TrainingPosition,
    /// What the run was, in the caller's words.
    pub fingerprint: String,
    /// What the training was made with.
    pub settings: TrainingSettings,
    /// The parameters of the model.
    pub tensors: Vec<TensorEntry>,
    /// The metric by which the best checkpoint is kept, if its value was known and a number.
    pub metric: Option<MetricValue>,
    /// Why the training was over, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<TrainingOver>,
    /// The files beside the manifest.
    pub files: Vec<FileEntry>,
    /// What callbacks remember, by their names.
    pub callbacks: BTreeMap<String, serde_json::Value>,
}

/// Values of a manifest that are not those of its files.
pub(in crate::train) struct Description<'a> {
    pub position: TrainingPosition,
    pub fingerprint: &'a str,
    pub settings: &'a TrainingSettings,
    pub tensors: &'a [TensorEntry],
    pub metric: Option<MetricValue>,
    pub over: Option<TrainingOver>,
    pub callbacks: BTreeMap<String, serde_json::Value>,
}
