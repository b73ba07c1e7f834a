//! Files of other programs.

pub mod gguf;
mod hf;
