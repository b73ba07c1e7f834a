use crate::text::TextError;

/// Error of a [`TextDataConfig`](super::TextDataConfig) and its files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextDataError {
    /// A file or a number is invalid.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The settings do not fit the kinds of the files: setting, expected and actual files.
    #[error("{0}")]
    Settings(String),
    /// The content of the files does not fit the settings or the tokenizer: setting, expected and actual content.
    #[error("{0}")]
    Content(String),
}
