//! GGUF files.

#[cfg(feature = "peft")]
mod adapter;
mod blocks;
mod codecs;
mod damage;
pub mod file;
mod keys;
mod model;
mod models;
mod positions;
mod round_trip;
mod tokenizer;
mod values;
mod weights;
