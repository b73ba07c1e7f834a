use core::fmt;
use std::{
    io,
    path::{Path, PathBuf},
};

use burn::tensor::TensorReadError;

/// Why a text, a tokenizer or a data set cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum TextError {
    /// The operating system refused.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// A file is no tokenizer, or one that cannot be used.
    Tokenizer {
        /// The file, if it is one.
        path: Option<PathBuf>,
        /// What is wrong with it.
        reason: String,
    },
    /// A text has characters that the tokenizer has no tokens for.
    UnknownCharacters {
        /// Each of them, once.
        characters: Vec<char>,
    },
    /// A token that the tokenizer or the model does not have.
    UnknownToken {
        /// Its number.
        token: u32,
        /// Number of tokens that there are.
        vocab_size: usize,
    },
    /// A text cannot be made tokens, or tokens a text.
    Encoding {
        /// What is wrong with them.
        reason: String,
    },
    /// A chat template cannot be read, or does not take the messages.
    Template {
        /// What is wrong with it.
        reason: String,
    },
    /// It cannot be told which part of a chat the assistant says: what the template makes of the
    /// messages before is not what a longer chat begins with.
    NoPrefix {
        /// Number of the assistant's message, from 0.
        message: usize,
    },
    /// A line of a data set is not what it should be.
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
    File {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// A file of tokens ends too early or too late.
    Length {
        /// The file.
        path: PathBuf,
        /// What length it should have.
        expected: String,
        /// Bytes that it has.
        found: u64,
    },
    /// A file of tokens has one that is not in the vocabulary.
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
    TooFewTokens {
        /// Tokens that there are.
        found: usize,
        /// Tokens that are needed.
        needed: usize,
    },
    /// A pass over a data set gave no document.
    NoDocuments {
        /// The files of the data set.
        paths: Vec<PathBuf>,
    },
    /// A data set has documents, none of which has a token that counts in the loss.
    NothingToLearn {
        /// The files of the data set.
        paths: Vec<PathBuf>,
        /// Documents that there are.
        documents: usize,
        /// Why none of their tokens counts.
        reason: String,
    },
    /// A setting has a value that makes no sense.
    Setting {
        /// Its name.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A prompt without tokens, or with more than the model has positions for.
    PromptLength {
        /// Number of the prompt, from 0.
        prompt: usize,
        /// Its tokens.
        tokens: usize,
        /// Positions of the model.
        context: usize,
    },
    /// The model gave logits that nothing can be drawn from.
    Logits {
        /// A logit that is NaN or infinity; negative infinity if all are that.
        value: f32,
    },
    /// The device did not give the logits away.
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

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Tokenizer {
                path: Some(path),
                reason,
            } => write!(f, "{} is no tokenizer: {reason}", path.display()),
            Self::Tokenizer { path: None, reason } => write!(f, "the tokenizer: {reason}"),
            Self::UnknownCharacters { characters } => {
                write!(f, "the tokenizer has no tokens for {characters:?}")
            }
            Self::UnknownToken { token, vocab_size } => write!(
                f,
                "there is no token {token} in a vocabulary of {vocab_size}"
            ),
            Self::Encoding { reason } => write!(f, "the tokenizer fails: {reason}"),
            Self::Template { reason } => write!(f, "the chat template: {reason}"),
            Self::NoPrefix { message } => write!(
                f,
                "the chat template writes what comes before message {message} in another way once \
                 there is more, so that it cannot be told which part the assistant says"
            ),
            Self::Line {
                path,
                line,
                expected,
                found,
            } => write!(
                f,
                "{}:{line}: expected {expected}, found {found}",
                path.display()
            ),
            Self::Value {
                path,
                place,
                expected,
                found,
            } => write!(
                f,
                "{}, {place}: expected {expected}, found {found}",
                path.display()
            ),
            Self::File {
                path,
                expected,
                found,
            } => write!(f, "{}: expected {expected}, found {found}", path.display()),
            Self::Length {
                path,
                expected,
                found,
            } => write!(
                f,
                "{} has {found} bytes, expected {expected}",
                path.display()
            ),
            Self::TokenInFile {
                path,
                offset,
                token,
                vocab_size,
            } => write!(
                f,
                "{}: token {token} at byte {offset} is not in a vocabulary of {vocab_size}",
                path.display()
            ),
            Self::TooFewTokens { found, needed } => write!(
                f,
                "the data has {found} tokens, at least {needed} are needed"
            ),
            Self::NoDocuments { paths } => write!(f, "there is no document in {paths:?}"),
            Self::NothingToLearn {
                paths,
                documents,
                reason,
            } => write!(
                f,
                "nothing is learned of the {documents} documents in {paths:?}: {reason}"
            ),
            Self::Setting {
                name,
                expected,
                found,
            } => write!(f, "`{name}` is {expected}, got {found}"),
            Self::PromptLength {
                prompt,
                tokens,
                context,
            } => write!(
                f,
                "prompt {prompt} has {tokens} tokens, expected 1 to {context}"
            ),
            Self::Logits { value } => write!(
                f,
                "the model gave the logit {value}, which no token can be drawn from"
            ),
            Self::Device { source } => write!(f, "the logits cannot be read: {source}"),
        }
    }
}

impl core::error::Error for TextError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Device { source } => Some(source),
            _ => None,
        }
    }
}
