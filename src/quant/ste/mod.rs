//! Straight-through estimators: surrogate gradients of quantizers.

mod base;
mod clipped;
mod sigmoid;
mod tanh;

pub use base::Ste;
pub use clipped::ClippedSte;
pub use sigmoid::SigmoidSte;
pub use tanh::TanhSte;
