use core::fmt;
use std::{
    io,
    path::{Path, PathBuf},
};

use burn::tensor::TensorReadError;

use crate::base::bounds::OutOfBounds;

/// Error when a text, a tokenizer or a data set cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// A file is no tokenizer, or one that cannot be used.
    #[error("{}: {reason}", tokenizer(.path))]
    Tokenizer {
        /// The file, if it is one.
        path: Option<PathBuf>,
        /// What is wrong with it.
        reason: String,
    },
    /// A text has characters that the tokenizer has no tokens for.
    #[error("the tokenizer has no tokens for {characters:?}")]
    UnknownCharacters {
        /// Each of them, once.
        characters: Vec<char>,
    },
    /// A token that the tokenizer or the model does not have.
    #[error("there is no token {token} in a vocabulary of {vocab_size}")]
    UnknownToken {
        /// Its number.
        token: u32,
        /// Number of tokens that there are.
        vocab_size: usize,
    },
    /// A text cannot be made tokens, or tokens a text.
    #[error("the tokenizer fails: {reason}")]
    Encoding {
        /// What is wrong with them.
        reason: String,
    },
    /// A chat template cannot be read, or does not take the messages.
    #[error("the chat template: {reason}")]
    Template {
        /// What is wrong with it.
        reason: String,
    },
    /// It cannot be told which part of a chat the assistant says: what the template makes of the
    /// messages before is not what a longer chat begins with.
    #[error(
        "the chat template writes what comes before message {message} in another way once there is \
         more, so that it cannot be told which part the assistant says"
    )]
    NoPrefix {
        /// Number of the assistant's message, from 0.
        message: usize,
    },
    /// A line of a data set is not what it should be.
    #[error("{path}:{line}: expected {expected}, found {found}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A value in a file is not what it should be.
    #[error("{path}, {place}: expected {expected}, found {found}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        place: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A file does not hold what it should.
    #[error("{path}: expected {expected}, found {found}")]
    File {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// A file of tokens ends too early or too late.
    #[error("{path} has {found} bytes, expected {expected}")]
    Length {
        /// The file.
        path: PathBuf,
        /// What length it should have.
        expected: String,
        /// Bytes that it has.
        found: u64,
    },
    /// A file of tokens has one that is not in the vocabulary.
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
    /// There are too few tokens to cut a window.
    #[error("the data has {found} tokens, at least {needed} are needed")]
    TooFewTokens {
        /// Tokens that there are.
        found: usize,
        /// Tokens that are needed.
        needed: usize,
    },
    /// A pass over a data set gave no document.
    #[error("there is no document in {paths:?}")]
    NoDocuments {
        /// The files of the data set.
        paths: Vec<PathBuf>,
    },
    /// A data set has documents, none of which has a token that counts in the loss.
    #[error("nothing is learned of the {documents} documents in {paths:?}: {reason}")]
    NothingToLearn {
        /// The files of the data set.
        paths: Vec<PathBuf>,
        /// Documents that there are.
        documents: usize,
        /// Why none of their tokens counts.
        reason: String,
    },
    /// A setting has a value that makes no sense.
    #[error(transparent)]
    Setting(#[from] OutOfBounds),
    /// A prompt without tokens, or with more than the model has positions for.
    #[error("prompt {prompt} has {tokens} tokens, expected 1 to {context}")]
    PromptLength {
        /// Number of the prompt, from 0.
        prompt: usize,
        /// Its tokens.
        tokens: usize,
        /// Positions of the model.
        context: usize,
    },
    /// The model gave logits that nothing can be drawn from.
    #[error("the model gave the logit {value}, which no token can be drawn from")]
    Logits {
        /// A logit that is NaN or infinity; negative infinity if all are that.
        value: f32,
    },
    /// The device did not give the logits away.
    #[error("the logits cannot be read: {source}")]
    Device {
        /// Its reason.
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
