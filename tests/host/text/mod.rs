//! Tokenizers, datasets and generated texts.

mod chat;
mod datasets;
mod generation;
mod records;
mod token_files;
mod tokenizer;
