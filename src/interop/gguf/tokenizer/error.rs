use core::fmt;

use crate::interop::gguf::GgufError;

/// Why a tokenizer cannot be converted.
#[derive(Debug)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The metadata lack a key or hold another type.
    Metadata {
        /// What is wrong with them.
        source: GgufError,
    },
    /// A field of `tokenizer.json` or `tokenizer_config.json` is missing or of another type.
    Field {
        /// Path of the field.
        path: String,
        /// What it should be.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A part of the tokenizer that the other side does not have.
    Unsupported {
        /// The part.
        part: &'static str,
        /// What is there.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A pre-tokenizer that no name of llama.cpp's is known for.
    PreTokenizer {
        /// The pre-tokenizer, as JSON.
        found: String,
    },
    /// A name of a pre-tokenizer that is not known.
    Pre {
        /// The name.
        found: String,
    },
    /// The tokenizer has a token that the model has no row for.
    VocabSize {
        /// The token.
        token: String,
        /// Its id.
        id: u64,
        /// Size of the model's vocabulary.
        vocab_size: usize,
    },
    /// Two tokens have one id, or one token two.
    Conflict {
        /// The token.
        token: String,
        /// Its id.
        id: u64,
        /// What the id or the token has already.
        other: String,
    },
    /// A token that is asked for is not in the vocabulary.
    MissingToken {
        /// What the token is for.
        purpose: &'static str,
        /// The token or its id.
        token: String,
    },
    /// A merge that cannot be expressed.
    Merge {
        /// The merge.
        merge: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Lists that should be of one length are not.
    Length {
        /// The list.
        key: &'static str,
        /// Number of tokens.
        expected: usize,
        /// Length of the list.
        found: usize,
    },
}

impl From<GgufError> for TokenizerError {
    fn from(source: GgufError) -> Self {
        Self::Metadata { source }
    }
}

impl fmt::Display for TokenizerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata { source } => source.fmt(f),
            Self::Field {
                path,
                expected,
                found,
            } => write!(f, "`{path}`: expected {expected}, found {found}"),
            Self::Unsupported {
                part,
                found,
                expected,
            } => write!(f, "{part} {found} cannot be converted: expected {expected}"),
            Self::PreTokenizer { found } => write!(
                f,
                "no name of llama.cpp's is known for the pre-tokenizer {found}: give the one that \
                 llama.cpp has for this tokenizer with `with_pre`"
            ),
            Self::Pre { found } => write!(
                f,
                "the pre-tokenizer `{found}` of llama.cpp is not known: take the tokenizer.json of \
                 the original model"
            ),
            Self::VocabSize {
                token,
                id,
                vocab_size,
            } => write!(
                f,
                "the token {token:?} has the id {id}, the model has {vocab_size} tokens"
            ),
            Self::Conflict { token, id, other } => {
                write!(f, "the token {token:?} with id {id} conflicts with {other}")
            }
            Self::MissingToken { purpose, token } => {
                write!(f, "the {purpose} token {token} is not in the vocabulary")
            }
            Self::Merge { merge, reason } => write!(f, "the merge {merge:?}: {reason}"),
            Self::Length {
                key,
                expected,
                found,
            } => write!(f, "`{key}`: expected {expected} elements, found {found}"),
        }
    }
}

impl core::error::Error for TokenizerError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Metadata { source } => Some(source),
            _ => None,
        }
    }
}
