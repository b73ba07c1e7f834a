//! Checkpoints of a whole training at any step, from which it goes on as if it had not stopped.
//!
//! A checkpoint is a folder `step-00000250` with the records of the model (its
//! [quantisation controls](crate::quant::QuantControls) among them), the optimizer and the learning
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

mod error;
mod files;
mod folder;
mod manifest;
mod policy;
mod records;

pub use error::CheckpointError;
pub use folder::{CheckpointFolder, WholeCheckpoint};
pub use manifest::{CheckpointManifest, FileEntry, TrainingPosition};
pub use policy::{BestMetric, CheckpointPolicy, Resume};

pub(super) use folder::{Checkpoint, Description};
pub(super) use manifest::parameter_digest;
pub(super) use records::{RecordTap, Records};
