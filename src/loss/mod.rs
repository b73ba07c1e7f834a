//! Losses of language models and embeddings, distillation losses, and regularizers of weights that
//! are trained with quantization.
//!
//! Each loss is independent: `XConfig::new(..).init()` creates it, `forward` takes tensors of any
//! Burn program. Losses are computed and returned in f32 for f16 and bf16 inputs; the loss of an
//! empty input is 0.
//! values is 0.

mod attention_relation;
mod causal_lm;
mod distillation;
mod hidden_distillation;
mod info_nce;
mod kl_divergence;
mod kurtosis;
mod level_distance;
mod logits_distillation;
mod oscillation_dampening;
mod precision;
mod scale_decay;
mod sparsity;
mod token_mean;
mod top_k_logits;
mod unit_norm;
mod weight_regularizer;

pub use attention_relation::{
    AttentionRelationLoss, AttentionRelationLossConfig, AttentionStates, split_heads,
};
pub use causal_lm::{CausalLmLoss, CausalLmLossConfig};
pub use distillation::{
    DistillationLoss, DistillationLossConfig, DistillationLosses, StudentStates, TeacherLogits,
    TeacherStates,
};
pub use hidden_distillation::{
    HiddenDistance, HiddenDistillationLoss, HiddenDistillationLossConfig,
};
pub use info_nce::{InfoNceLoss, InfoNceLossConfig};
pub use kurtosis::{KurtosisLoss, KurtosisLossConfig};
pub use level_distance::{Distance, LevelDistanceLoss, LevelDistanceLossConfig};
pub use logits_distillation::{LogitsDistillationLoss, LogitsDistillationLossConfig};
pub use oscillation_dampening::OscillationDampeningLoss;
pub use scale_decay::{ScaleDecayLoss, ScaleDecayLossConfig};
pub use sparsity::{L1Loss, SparsityTargetLoss, SparsityTargetLossConfig};
pub use top_k_logits::TopKLogits;
pub use weight_regularizer::{Regularizer, WeightRegularizer, WeightRegularizerConfig};
