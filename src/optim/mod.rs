//! Extensions of Burn's optimizers for quantization-aware training: clipping, freezing and
//! scheduled weight decay of latent weights, BitNet's learning rates, mixed precision, and 8-bit
//! optimizer states, optionally paged to a file.

mod adamw_8bit;
mod fused_adamw;
mod grad_norm;
mod latent_clipping;
mod latent_quantizer;
mod learning_rate_scale;
mod loss_scaler;
mod mixed_precision;
mod oscillation_freezing;
mod oscillation_monitor;
mod oscillation_state;
mod paged;
mod qat_optimizer;
mod stochastic_rounding;
mod two_stage_lr;
mod weight_decay;
mod weight_decay_schedule;

pub use adamw_8bit::{AdamW8bit, AdamW8bitConfig};
pub use fused_adamw::{FusedAdamW, FusedAdamWConfig};
pub use grad_norm::clip_grad_norm;
pub use latent_clipping::LatentClipping;
pub use latent_quantizer::LatentQuantizer;
pub use learning_rate_scale::{LearningRateScale, ScaledLrScheduler};
pub use loss_scaler::{LossScaler, LossScalerConfig, LossScalerError, LossScalerRecord};
pub use mixed_precision::{MixedPrecision, MixedPrecisionError};
pub use oscillation_freezing::{FreezingThreshold, OscillationFreezingConfig};
pub use oscillation_monitor::OscillationMonitor;
pub use paged::{PageError, PagedOptimizer, PagedOptimizerConfig};
pub use qat_optimizer::{QatOptimizer, QatOptimizerConfig};
pub use two_stage_lr::{LrDecay, TwoStageLrSchedulerConfig};
pub use weight_decay::{DecoupledWeightDecay, WeightDecayScheduler};
pub use weight_decay_schedule::WeightDecaySchedule;
