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
pub use characters::END_OF_TEXT;
pub use encoding::OffsetToken;
pub use stream::TextStream;

pub(super) use model_folder::json_file;
