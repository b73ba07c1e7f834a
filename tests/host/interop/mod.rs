//! Files of other programs.

pub mod gguf;
mod hf;
#[cfg(feature = "peft")]
mod peft;
