//! Adapters beside frozen weights.

mod language_model;
mod lora;
mod training;
