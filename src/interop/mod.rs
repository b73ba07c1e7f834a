//! Files of other programs: Hugging Face folders, and GGUF for llama.cpp.

mod causal_lm;
pub mod gguf;
pub mod hf;
mod parameters;

pub use crate::base::key_table::UnknownKey;
pub use causal_lm::{CausalLm, PretrainedLm};
