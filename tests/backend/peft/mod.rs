//! Adapters beside frozen weights.

mod beside;
mod language_model;
mod lora;
mod training;
