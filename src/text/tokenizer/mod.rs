mod base;
mod byte_symbols;
mod characters;
mod checks;
mod coverage;
mod model_folder;
mod stream;

pub use base::{OffsetToken, Tokenizer};
pub use characters::END_OF_TEXT;
pub use stream::TextStream;

pub(super) use model_folder::json_file;
