//! Tokenizers, datasets and generated texts.

mod chat;
mod chat_template;
mod datasets;
mod encoding;
mod generation;
mod generation_settings;
mod packing;
mod records;
mod text_data;
mod text_reader;
mod token_files;
mod tokenizer;
