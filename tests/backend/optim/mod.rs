//! Optimizers against their definitions and against other libraries.

mod adamw_8bit;
mod fused_adamw;
mod latent_weights;
mod learning_rates;
mod loss_scaler;
mod mixed_precision;
mod oracle_adamw;
mod oscillation;
mod paged;
mod qat_optimizer;
mod two_stage_lr;
mod weight_decay_schedule;
