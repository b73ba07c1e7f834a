//! Losses of language models and embeddings, distillation losses, and regularizers of weights that
//! are trained with quantization.
//!
//! Each loss is independent: it is a configuration that is created by `new` and read from a file, and
//! its `forward` takes tensors of any Burn program. Losses with parameters of their own are modules,
//! made by the `init` of their configuration. Losses are computed and returned in f32 for f16 and bf16
//! inputs; the loss of an empty input is 0.

mod attention_relation;
mod causal_lm;
mod distillation;
mod distillation_states;
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

pub use attention_relation::{AttentionRelationLoss, AttentionStates};
pub use causal_lm::CausalLmLoss;
#[cfg(feature = "train")]
pub(crate) use distillation::DistillationLosses;
pub use distillation::{DistillationLoss, DistillationLossConfig};
pub use distillation_states::{StudentStates, TeacherLogits, TeacherStates};
pub use hidden_distillation::{
    HiddenDistance, HiddenDistillationLoss, HiddenDistillationLossConfig,
};
pub use info_nce::InfoNceLoss;
pub use kurtosis::KurtosisLoss;
pub use level_distance::{Distance, LevelDistanceLoss};
pub use logits_distillation::LogitsDistillationLoss;
pub use oscillation_dampening::OscillationDampeningLoss;
pub use scale_decay::ScaleDecayLoss;
pub use sparsity::{L1Loss, SparsityTargetLoss};
pub use top_k_logits::TopKLogits;
pub use weight_regularizer::{Regularizer, WeightRegularizer};
