//! Checkpoints of a training at any step, from which it resumes with identical results.
//!
//! A checkpoint is a folder `step-00000250` with the records of the model (including its
//! [quantization controls](crate::qat::QuantControls)), the optimizer and the learning rate
//! scheduler, and a manifest: the position of the training, the states of its callbacks, and the
//! length and checksum of each file. It is written under a temporary name and renamed when
//! complete, so that a killed process leaves earlier checkpoints intact.
//!
//! ```text
//! checkpoints/step-00000250/model.bpk
//!                          /optimizer.bpk
//!                          /scheduler.bpk
//!                          /callbacks.bpk   if a callback has tensors
//!                          /manifest.json
//!                          /manifest.crc32
//! ```
//!
//! With [`trained_only`](CheckpointPolicy::trained_only), as with adapters, parameters that neither train nor change
//! are left out; their checksums tell whether a training resumes with the same.
//!
//! There is one timeline: a training that resumes from a step before the last sets the later
//! checkpoints aside, as `abandoned-00000250`. [`Resume::Latest`], rollbacks and the search for the
//! best checkpoint ignore them. Each is removed when the new training has passed its step; until
//! then it can be restored by renaming it to `step-00000250`.

mod callback_tensors;
mod error;
mod files;
mod folder;
mod frozen_parameters;
mod manifest;
mod optimizer_states;
mod policy;
mod records;
mod tensor_entry;
mod training_settings;

pub use error::CheckpointError;
pub use folder::CheckpointFolder;
pub use manifest::CheckpointManifest;
pub use policy::{BestMetric, CheckpointPolicy, Resume};

pub(super) use callback_tensors::CallbackTensors;
pub(super) use folder::{BestCheckpoint, Checkpoint, Refused};
pub(super) use frozen_parameters::{FrozenParameter, FrozenParameters};
pub(super) use manifest::{FileEntry, MetricValue, TrainingOver, TrainingPosition};
pub(super) use optimizer_states::{OptimizerStates, loaded_dtype};
pub(super) use records::{RecordTap, Records};
pub(super) use tensor_entry::{TensorDifference, TensorEntry};
pub(super) use training_settings::TrainingSettings;
