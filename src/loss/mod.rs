//! Losses: of language models and embeddings, and regularisers of weights that train quantised.
//!
//! Each loss stands by itself: `XConfig::new(..).init()` makes it, `forward` takes tensors of any
//! Burn program. Losses are computed and returned in f32 for f16 and bf16 inputs; a loss of no
//! values is 0.

mod causal_lm;
mod info_nce;
mod kurtosis;
mod level_distance;
mod oscillation_dampening;
mod precision;
mod range;
mod scale_decay;
mod sparsity;
mod weight_regularizer;

pub use causal_lm::{CausalLmLoss, CausalLmLossConfig};
pub use info_nce::{InfoNceLoss, InfoNceLossConfig};
pub use kurtosis::{KurtosisLoss, KurtosisLossConfig};
pub use level_distance::{Distance, LevelDistanceLoss, LevelDistanceLossConfig};
pub use oscillation_dampening::OscillationDampeningLoss;
pub use scale_decay::{ScaleDecayLoss, ScaleDecayLossConfig};
pub use sparsity::{L1Loss, SparsityTargetLoss, SparsityTargetLossConfig};
pub use weight_regularizer::{Regularizer, WeightRegularizer, WeightRegularizerConfig};
