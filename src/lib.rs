//! Quantization-aware training of BitNet models for [Burn](https://burn.dev).

pub mod functions;
pub mod ops;
