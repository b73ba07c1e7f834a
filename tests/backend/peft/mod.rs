//! Adapters beside frozen weights.

mod attach;
mod beside;
mod language_model;
mod lora;
mod training;
