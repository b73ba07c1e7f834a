//! Adapters beside frozen weights.

mod beside;
mod attach;
mod language_model;
mod lora;
mod training;
