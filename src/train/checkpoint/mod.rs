//! Checkpoints of a whole training at any step, from which it goes on as if it had not stopped.
//!
//! A checkpoint is a folder `step-00000250` with the records of the model (its
//! [quantisation controls](crate::qat::QuantControls) among them), the optimizer and the learning
//! rate scheduler, and a manifest: where the training stands, what its callbacks remember, and the
//! length and checksum of every file. It is written beside its place and renamed when it is whole, so
//! that a program that is killed leaves the earlier ones as they were.
//!
//! ```text
//! checkpoints/step-00000250/model.bpk
//!                          /optimizer.bpk
//!                          /scheduler.bpk
//!                          /manifest.json
//!                          /manifest.crc32
//! ```
//!
//! There is one timeline: a training that goes on from an earlier step than the newest sets the later
//! checkpoints aside, as `abandoned-00000250`, where neither [`Resume::Latest`] nor a rollback nor
//! the best so far finds them. Each is removed when the new training has passed its step; until then
//! renaming it to `step-00000250` brings it back.

mod error;
mod files;
mod folder;
mod manifest;
mod optimizer_states;
mod policy;
mod records;
mod tensor_entry;
mod training_settings;

pub use error::CheckpointError;
pub use folder::{BestCheckpoint, CheckpointFolder, WholeCheckpoint};
pub use manifest::{CheckpointManifest, FileEntry, MetricValue, TrainingOver, TrainingPosition};
pub use policy::{BestMetric, CheckpointPolicy, Resume};
pub use tensor_entry::{TensorDifference, TensorEntry};
pub use training_settings::TrainingSettings;

pub(super) use folder::Checkpoint;
pub(super) use manifest::Description;
pub(super) use optimizer_states::{OptimizerStates, loaded_dtype};
pub(super) use records::{RecordTap, Records};
