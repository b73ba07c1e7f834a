//! Quantizers of activations.

mod absmax;
mod absmean;
mod asymmetric;
mod base;
mod learned_step;
mod static_range;
mod top_k;

pub use absmax::AbsmaxConfig;
pub use absmean::AbsmeanConfig;
pub use asymmetric::AsymmetricConfig;
pub use base::ActivationQuantizer;
pub use learned_step::LearnedActivationConfig;
pub use static_range::StaticConfig;
pub use top_k::TopKConfig;

pub(crate) use static_range::StaticRange;
