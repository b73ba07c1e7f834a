mod base;
mod byte_symbols;
mod characters;
mod config_keys;
mod coverage;
mod encoding;
mod model_folder;
mod special_tokens;
mod stream;

pub use base::Tokenizer;
pub use stream::TextStream;

pub(super) use model_folder::{json_file, optional_text};
