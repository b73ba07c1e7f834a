//! Training with Burn's `Learner`: a loop with callbacks and checkpoints at any step, and
//! distillation from a frozen teacher, or from its logits on disk.

pub mod callback;
pub mod checkpoint;
pub mod config;
mod distillation_metric;
mod distillation_output;
mod distiller;
mod frozen;
mod memory_plan;
mod ordered_data_loader;
mod quantization_error_metric;
mod silent_renderer;
mod strategy;
pub mod teacher_logits;
mod token_loss;
mod token_loss_metric;
mod training_failure;

pub use distillation_metric::DistillationMetric;
pub use distillation_output::DistillationOutput;
pub use distiller::{Distiller, Student, StudentStep, Teacher};
pub use frozen::Frozen;
pub use memory_plan::{MemoryPlan, MemoryPlanConfig, OptimizerStates};
pub use ordered_data_loader::OrderedDataLoader;
pub use quantization_error_metric::{QuantizationErrorMetric, SharedErrorHistory};
pub use silent_renderer::SilentRenderer;
pub use strategy::{CallbackStrategy, NoData};
pub use token_loss::TokenLoss;
pub use token_loss_metric::TokenLossMetric;
pub use training_failure::TrainingFailure;
