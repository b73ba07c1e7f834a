use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Bool, Int, Tensor},
};
use serde::{Deserialize, Serialize};

/// What the manifest of a checkpoint says it is.
pub(super) const FORMAT: &str = "bitnet-burn checkpoint";
/// The version that is written, and the newest that is read.
pub(super) const VERSION: u64 = 1;

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
    /// Number and digest of the parameters of the model.
    pub parameters: String,
    /// Value of the metric by which the best checkpoint is kept, if it was known.
    pub metric: Option<f64>,
    /// The files beside the manifest.
    pub files: Vec<FileEntry>,
    /// What callbacks remember, by their names.
    pub callbacks: BTreeMap<String, serde_json::Value>,
}

/// Number of the parameters of a module and a checksum of their paths and shapes, to tell models
/// apart.
pub(in crate::train) fn parameter_digest<M: Module>(module: &M) -> String {
    let mut digest = Digest::default();
    module.visit(&mut digest);
    let crc32 = digest.hasher.finalize();
    format!("{} parameter tensors ({crc32:08x})", digest.count)
}

#[derive(Default)]
struct Digest {
    path: Vec<String>,
    count: usize,
    hasher: crc32fast::Hasher,
}

impl Digest {
    fn add(&mut self, kind: &str, shape: &[usize]) {
        self.count += 1;
        let line = format!("{} {kind} {shape:?}\n", self.path.join("."));
        self.hasher.update(line.as_bytes());
    }
}

impl ModuleVisitor for Digest {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.add("float", &param.lazy_shape());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.add("int", &param.lazy_shape());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.add("bool", &param.lazy_shape());
    }
}
