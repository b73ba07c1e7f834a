//! Training with Burn's `Learner`: a loop with callbacks and checkpoints at any step, and
//! distillation from a frozen teacher, or from its logits on disk.

mod activation_memory;
pub mod callback;
pub mod checkpoint;
pub mod config;
mod distillation_metric;
mod distillation_output;
mod distiller;
mod frozen;
#[cfg(feature = "text")]
mod gradient_checkpointing;
mod gradients;
#[cfg(feature = "text")]
mod language_model;
mod mean_metric;
mod memory_plan;
mod ordered_data_loader;
mod placement;
mod quantization_error_metric;
mod run_folder;
mod run_folder_error;
mod run_identity;
mod silent_renderer;
mod strategy;
pub mod teacher_logits;
mod token_loss;
mod token_loss_metric;
mod trained;
mod trainer;
mod training_data;
mod training_failure;

pub use distillation_metric::DistillationMetric;
use distillation_output::DistillationOutput;
pub use distiller::{Distiller, Student, StudentStep, Teacher};
pub use frozen::Frozen;
#[cfg(feature = "text")]
use gradient_checkpointing::GradientCheckpointing;
#[cfg(feature = "text")]
pub use language_model::LanguageModel;
pub use memory_plan::{MemoryPlan, MemoryPlanConfig, OptimizerStates};
pub use ordered_data_loader::OrderedDataLoader;
pub use quantization_error_metric::QuantizationErrorMetric;
pub use run_folder::RunFolder;
pub use run_folder_error::RunFolderError;
pub use run_identity::RunIdentity;
pub use silent_renderer::SilentRenderer;
pub use strategy::CallbackStrategy;
use strategy::NoData;
pub use token_loss::TokenLoss;
pub use token_loss_metric::TokenLossMetric;
pub use trained::{Trained, TrainingReport};
pub use trainer::{Trainer, TrainerError};
use training_data::TrainingData;
pub use training_failure::TrainingFailure;

pub use crate::base::data_position::SeekableDataLoader;
