//! Adapters beside frozen weights.

mod attach;
mod beside;
mod language_model;
mod loftq;
mod lora;
mod prompts;
mod training;
