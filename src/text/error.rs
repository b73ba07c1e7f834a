use core::fmt;
use std::{
    io,
    path::{Path, PathBuf},
    str::Utf8Error,
};

use burn::tensor::TensorReadError;

use crate::base::bounds::OutOfBounds;

/// Error of a text, a tokenizer, a chat template or a data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// An I/O error.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// An invalid or unsupported tokenizer.
    #[error("{}: {reason}", tokenizer(.path))]
    Tokenizer {
        /// The file, if there is one.
        path: Option<PathBuf>,
        /// The reason.
        reason: String,
    },
    /// A text has characters without tokens.
    #[error("the tokenizer has no tokens for {characters:?}")]
    UnknownCharacters {
        /// The characters, without repetition.
        characters: Vec<char>,
    },
    /// A token is not in the vocabulary of the tokenizer or the model.
    #[error("there is no token {token} in a vocabulary of {vocab_size}")]
    UnknownToken {
        /// The token.
        token: u32,
        /// Number of tokens in the vocabulary.
        vocab_size: usize,
    },
    /// Encoding or decoding failed.
    #[error("the tokenizer fails: {reason}")]
    Encoding {
        /// The reason.
        reason: String,
    },
    /// A chat template is invalid or rejects the messages.
    #[error("the chat template: {reason}")]
    Template {
        /// The reason.
        reason: String,
    },
    /// The assistant's part of a chat cannot be located: the rendered messages before it are not a prefix of
    /// the longer chat.
    #[error(
        "the chat template writes what comes before message {message} in another way once there is \
         more, so that it cannot be told which part the assistant says"
    )]
    NoPrefix {
        /// Number of the assistant's message, from 0.
        message: usize,
    },
    /// A line of a data set is malformed.
    #[error("{path}:{line}: expected {expected}, found {found}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// The expected content.
        expected: String,
        /// The actual content.
        found: String,
    },
    /// A value in a file is invalid.
    #[error("{path}, {place}: expected {expected}, found {found}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Location in the file.
        place: String,
        /// The expected value.
        expected: String,
        /// The actual value.
        found: String,
    },
    /// A file has an unexpected content.
    #[error("{path}: expected {expected}, found {found}")]
    File {
        /// The file.
        path: PathBuf,
        /// The expected content.
        expected: String,
        /// The actual content.
        found: String,
    },
    /// A token file is truncated or too long.
    #[error("{path} has {found} bytes, expected {expected}")]
    Length {
        /// The file.
        path: PathBuf,
        /// The expected length.
        expected: String,
        /// The actual length in bytes.
        found: u64,
    },
    /// A token file has a token that is not in the vocabulary.
    #[error("{path}: token {token} at byte {offset} is not in a vocabulary of {vocab_size}")]
    TokenInFile {
        /// The file.
        path: PathBuf,
        /// Offset of the token in bytes.
        offset: u64,
        /// The token.
        token: u32,
        /// Number of tokens in the vocabulary.
        vocab_size: usize,
    },
    /// The tokens are too few for a window.
    #[error("the data has {found} tokens, at least {needed} are needed")]
    TooFewTokens {
        /// Number of tokens.
        found: usize,
        /// Number of required tokens.
        needed: usize,
    },
    /// A pass over a data set returned no document.
    #[error("there is no document in {paths:?}")]
    NoDocuments {
        /// The files of the data set.
        paths: Vec<PathBuf>,
    },
    /// No document of a data set has a token that counts in the loss.
    #[error("nothing is learned of the {documents} documents in {paths:?}: {reason}")]
    NothingToLearn {
        /// The files of the data set.
        paths: Vec<PathBuf>,
        /// Number of documents.
        documents: usize,
        /// Reason why no token counts.
        reason: String,
    },
    /// A setting is out of its bounds.
    #[error(transparent)]
    Setting(#[from] OutOfBounds),
    /// A prompt has no tokens, or more than the model has positions.
    #[error("prompt {prompt} has {tokens} tokens, expected 1 to {context}")]
    PromptLength {
        /// Number of the prompt, from 0.
        prompt: usize,
        /// Number of its tokens.
        tokens: usize,
        /// Number of positions of the model.
        context: usize,
    },
    /// The logits do not allow sampling.
    #[error("the model gave the logit {value}, which no token can be drawn from")]
    Logits {
        /// A logit that is NaN or infinity; negative infinity if all logits are.
        value: f32,
    },
    /// The logits cannot be read back from the device.
    #[error("the logits cannot be read: {source}")]
    Device {
        /// The error of the device.
        source: TensorReadError,
    },
}

impl TextError {
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    pub(super) fn value(
        path: &Path,
        place: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Value {
            path: path.to_path_buf(),
            place: place.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    pub(super) fn line(path: &Path, line: usize, expected: String, found: String) -> Self {
        Self::Line {
            path: path.to_path_buf(),
            line,
            expected,
            found,
        }
    }

    pub(super) fn not_utf8(path: &Path, line: usize, error: Utf8Error) -> Self {
        Self::line(path, line, "text in UTF-8".to_string(), error.to_string())
    }

    pub(super) fn file(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::File {
            path: path.to_path_buf(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    pub(super) fn encoding(reason: impl fmt::Display) -> Self {
        Self::Encoding {
            reason: reason.to_string(),
        }
    }

    pub(super) fn template(reason: impl fmt::Display) -> Self {
        Self::Template {
            reason: reason.to_string(),
        }
    }
}

fn tokenizer(path: &Option<PathBuf>) -> String {
    match path {
        Some(path) => format!("{} is no tokenizer", path.display()),
        None => "the tokenizer".to_string(),
    }
}
