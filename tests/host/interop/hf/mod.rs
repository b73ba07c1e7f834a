//! Folders of Hugging Face.

mod config;
mod families;
mod folder;
mod full_precision;
mod hostile;
mod models;
mod not_finite;
mod saving;
mod sizes;
mod tensors;
mod tokenizer_files;
