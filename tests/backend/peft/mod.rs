//! Adapters beside frozen weights.

mod ada_lora;
mod attach;
mod beside;
mod bit_fit;
mod ia3;
mod language_model;
mod loftq;
mod lora;
mod mixed;
mod models;
mod prompts;
mod properties;
mod training;
