//! Quantizers of weights.

mod base;
mod binary;
mod quantized_weight;
mod symmetric;
mod ternary;

pub use base::WeightQuantizer;
pub use binary::BinaryConfig;
pub use symmetric::SymmetricConfig;
pub use ternary::{TernaryConfig, TernaryScale};

pub(crate) use quantized_weight::QuantizedWeight;
