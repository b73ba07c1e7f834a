//! Training with Burn's `Learner`: distillation from a frozen teacher, or from its logits on disk.

mod distillation_metric;
mod distillation_output;
mod distiller;
mod frozen;
pub mod teacher_logits;

pub use distillation_metric::DistillationMetric;
pub use distillation_output::DistillationOutput;
pub use distiller::{Distiller, Student, StudentStep, Teacher};
pub use frozen::Frozen;
