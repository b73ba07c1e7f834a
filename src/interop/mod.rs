//! Files of other programs: Hugging Face folders, and GGUF for llama.cpp.

pub mod gguf;
