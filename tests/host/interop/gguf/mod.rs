//! GGUF files.

#[cfg(feature = "peft")]
mod adapter;
#[cfg(feature = "peft")]
mod adapter_damage;
mod blocks;
mod codecs;
mod damage;
pub mod file;
mod keys;
mod model;
mod models;
#[cfg(feature = "peft")]
mod parts;
mod positions;
mod round_trip;
mod tokenizer;
mod values;
mod weights;
