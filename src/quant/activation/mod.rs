//! Quantizers of activations.

mod absmax;
mod absmean;
mod asymmetric;
mod base;
mod learned_step;
mod static_range;
mod top_k;

pub(crate) use absmax::AbsmaxConfig;
use absmean::AbsmeanConfig;
use asymmetric::AsymmetricConfig;
pub use base::ActivationQuantizer;
use learned_step::LearnedActivationConfig;
pub(crate) use static_range::{StaticConfig, StaticRange};
use top_k::TopKConfig;
