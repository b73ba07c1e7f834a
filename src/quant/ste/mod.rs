//! Straight-through estimators: the gradients that stand in for that of a quantiser.

mod base;
mod clipped;
mod sigmoid;
mod tanh;

pub use base::Ste;
pub use clipped::ClippedSte;
pub use sigmoid::SigmoidSte;
pub use tanh::TanhSte;
