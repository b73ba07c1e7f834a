//! GGUF files.

mod blocks;
mod damage;
pub mod file;
mod metadata;
mod model;
mod round_trip;
mod tokenizer;
