//! Tokenizers between Hugging Face's `tokenizer.json` and the metadata of GGUF files.
//!
//! Byte-pair encodings of both kinds that llama.cpp has: of bytes (`tokenizer.ggml.model` is
//! `gpt2`), and of characters with bytes for the unknown ones (`llama`), as sentencepiece makes
//! them. Of a tokenizer that llama.cpp would run otherwise than Hugging Face's library does, the
//! conversion is an error: texts would become other tokens than those that the model has learned.

mod ends;
mod error;
mod export;
mod import;
mod json;
mod keys;
mod merges;
mod normalizer;
mod options;
mod post_processor;
mod pre_tokenizer;
mod source;
mod special_ids;
mod templates;
mod token_type;
mod vocabulary;

pub(super) use ends::{add_special_ids, end_ids};
pub use error::TokenizerError;
pub use export::to_metadata;
pub use import::from_metadata;
pub use options::TokenizerOptions;
pub use special_ids::SpecialIds;
use token_type::TokenType;
