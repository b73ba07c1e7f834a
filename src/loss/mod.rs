//! Losses for training quantised models: distillation from a full-precision teacher.

mod attention_relation;
mod distillation;
mod hidden_distillation;
mod kl_divergence;
mod logits_distillation;
mod token_mean;
mod top_k_logits;
mod unit_norm;

pub use attention_relation::{
    AttentionRelationLoss, AttentionRelationLossConfig, AttentionStates, split_heads,
};
pub use distillation::{
    DistillationLoss, DistillationLossConfig, DistillationLosses, StudentStates, TeacherLogits,
    TeacherStates,
};
pub use hidden_distillation::{
    HiddenDistance, HiddenDistillationLoss, HiddenDistillationLossConfig,
};
pub use logits_distillation::{LogitsDistillationLoss, LogitsDistillationLossConfig};
pub use top_k_logits::TopKLogits;
