//! Readers of external bytes, each as one function of the bytes, for the fuzz targets and for the replay of
//! their corpora. Invalid bytes must be an error of the reader; a panic, an allocation out of proportion or
//! a hang is a bug.
//!
//! The package in `fuzz/` has this module as its library, so nothing here uses the other tests.

mod adapter;
mod chat_template;
mod checkpoint;
mod folder;
mod gguf;
mod hf;
mod json_lines;
mod packed_model;
mod teacher_logits;
mod text_files;
mod token_file;
mod tokenizer;
mod training_config;

pub use adapter::{gguf_adapter, model as adapted_model, peft_folder};
pub use chat_template::chat_template;
pub use checkpoint::checkpoint;
pub use folder::folder_bytes;
pub use gguf::gguf;
pub use hf::{hf_config, hf_folder};
pub use json_lines::json_lines;
pub use packed_model::{layer as packed_layer, packed_model};
pub use teacher_logits::{format as teacher_logits_format, teacher_logits};
pub use text_files::text_files;
pub use token_file::token_file;
pub use tokenizer::tokenizer;
pub use training_config::training_config;

/// Function of a target.
pub type Target = fn(&[u8]);

/// All targets with the names of their corpora.
pub const TARGETS: [(&str, Target); 14] = [
    ("chat_template", chat_template),
    ("checkpoint", checkpoint),
    ("gguf", gguf),
    ("gguf_adapter", gguf_adapter),
    ("hf_config", hf_config),
    ("hf_folder", hf_folder),
    ("json_lines", json_lines),
    ("packed_model", packed_model),
    ("peft_folder", peft_folder),
    ("teacher_logits", teacher_logits),
    ("text_files", text_files),
    ("token_file", token_file),
    ("tokenizer", tokenizer),
    ("training_config", training_config),
];
