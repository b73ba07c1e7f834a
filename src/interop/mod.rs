//! Files of other programs: Hugging Face folders, and GGUF for llama.cpp.
//!
//! `architecture.rs` has one table of the parameters of a model, with their shapes and their names in
//! each format; [`hf`] and [`gguf`] read and write by it.

mod architecture;
mod causal_lm;
mod checks;
mod floats;
pub mod gguf;
pub mod hf;
mod json_text;
mod load_parameters;
mod parameters;
#[cfg(feature = "peft")]
pub mod peft;
mod safetensors_header;

use crate::base::key_table::UnknownKey;
pub use causal_lm::{CausalLm, PretrainedLm};
