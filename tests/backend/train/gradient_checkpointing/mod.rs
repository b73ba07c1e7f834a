//! Training steps with gradient checkpointing: losses and gradients of those without it, bit for bit.

#[cfg(feature = "peft")]
mod adapters;
mod models;
mod trainings;
