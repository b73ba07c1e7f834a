//! Quantizers of weights.

mod base;
mod binary;
mod constructors;
mod quantized_weight;
mod symmetric;
mod ternary;

pub use base::WeightQuantizer;
pub use ternary::TernaryScale;

pub(crate) use quantized_weight::QuantizedWeight;
