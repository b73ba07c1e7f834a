//! Training with Burn's `Learner`: a loop with callbacks and checkpoints at any step, and
//! distillation from a frozen teacher, or from its logits on disk.

pub mod callback;
pub mod checkpoint;
pub mod config;
mod distillation_metric;
mod distillation_output;
mod distiller;
mod frozen;
#[cfg(feature = "text")]
mod language_model;
mod memory_plan;
mod ordered_data_loader;
mod placement;
mod quantization_error_metric;
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
pub use distillation_output::DistillationOutput;
pub use distiller::{Distiller, Student, StudentStep, Teacher};
pub use frozen::Frozen;
#[cfg(feature = "text")]
pub use language_model::LanguageModel;
pub use memory_plan::{MemoryPlan, MemoryPlanConfig, OptimizerStates};
pub use ordered_data_loader::OrderedDataLoader;
pub use quantization_error_metric::{QuantizationErrorMetric, SharedErrorHistory};
pub use silent_renderer::SilentRenderer;
pub use strategy::{CallbackStrategy, NoData};
pub use token_loss::TokenLoss;
pub use token_loss_metric::TokenLossMetric;
pub use trained::{Trained, TrainingReport};
pub use trainer::{Trainer, TrainerError};
pub use training_data::TrainingData;
pub use training_failure::TrainingFailure;

pub use crate::base::data_position::SeekableDataLoader;
