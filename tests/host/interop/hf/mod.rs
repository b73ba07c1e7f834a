//! Folders of Hugging Face.

mod config;
mod families;
mod folder;
mod four_bit;
mod four_bit_damage;
mod four_bit_mutations;
mod full_precision;
mod hostile;
mod models;
mod not_finite;
mod saving;
mod sizes;
mod tensors;
mod tokenizer_files;
