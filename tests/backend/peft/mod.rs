//! Adapters beside frozen weights.

mod ada_lora;
mod attach;
mod beside;
mod language_model;
mod loftq;
mod lora;
mod prompts;
mod training;
