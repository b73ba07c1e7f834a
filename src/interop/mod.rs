//! Files of other programs: Hugging Face folders, and GGUF for llama.cpp.

mod causal_lm;
pub mod gguf;
pub mod hf;
mod parameters;

use crate::key_table;
pub use causal_lm::{CausalLm, PretrainedLm};
pub use key_table::UnknownKey;
