//! Losses against their definitions.

mod causal_lm;
mod configs;
mod distillation;
mod distillation_states;
mod info_nce;
mod kurtosis;
mod level_distance;
mod oscillation_dampening;
mod scale_decay;
mod sparsity;
mod weight_regularizer;
