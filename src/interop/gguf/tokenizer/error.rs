use crate::interop::gguf::GgufError;

/// Error when a tokenizer cannot be converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The metadata lack a key or hold another type.
    #[error("{source}")]
    Metadata {
        /// What is wrong with them.
        #[from]
        source: GgufError,
    },
    /// A field of `tokenizer.json` or `tokenizer_config.json` is missing or of another type.
    #[error("`{path}`: expected {expected}, found {found}")]
    Field {
        /// Path of the field.
        path: String,
        /// What it should be.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A part of the tokenizer that the other side does not have.
    #[error("{part} {found} cannot be converted: expected {expected}")]
    Unsupported {
        /// The part.
        part: &'static str,
        /// What is there.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A pre-tokenizer that no name of llama.cpp's is known for.
    #[error(
        "no name of llama.cpp's is known for the pre-tokenizer {found}: give the one that \
         llama.cpp has for this tokenizer with `with_pre`"
    )]
    PreTokenizer {
        /// The pre-tokenizer, as JSON.
        found: String,
    },
    /// A name of a pre-tokenizer that is not known.
    #[error(
        "the pre-tokenizer `{found}` of llama.cpp is not known: take the tokenizer.json of the \
         original model"
    )]
    Pre {
        /// The name.
        found: String,
    },
    /// The tokenizer has a token that the model has no row for.
    #[error("the token {token:?} has the id {id}, the model has {vocab_size} tokens")]
    VocabSize {
        /// The token.
        token: String,
        /// Its id.
        id: u64,
        /// Size of the model's vocabulary.
        vocab_size: usize,
    },
    /// Two tokens have one id, or one token two.
    #[error("the token {token:?} with id {id} conflicts with {other}")]
    Conflict {
        /// The token.
        token: String,
        /// Its id.
        id: u64,
        /// What the id or the token has already.
        other: String,
    },
    /// A token that is asked for is not in the vocabulary.
    #[error("the {purpose} token {token} is not in the vocabulary")]
    MissingToken {
        /// What the token is for.
        purpose: &'static str,
        /// The token or its id.
        token: String,
    },
    /// A merge that cannot be expressed.
    #[error("the merge {merge:?}: {reason}")]
    Merge {
        /// The merge.
        merge: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Lists that should be of one length are not.
    #[error("`{key}`: expected {expected} elements, found {found}")]
    Length {
        /// The list.
        key: &'static str,
        /// Number of tokens.
        expected: usize,
        /// Length of the list.
        found: usize,
    },
}

impl TokenizerError {
    pub(super) fn unsupported(
        part: &'static str,
        found: impl Into<String>,
        expected: &'static str,
    ) -> Self {
        Self::Unsupported {
            part,
            found: found.into(),
            expected,
        }
    }

    pub(super) fn missing(purpose: &'static str, token: impl ToString) -> Self {
        Self::MissingToken {
            purpose,
            token: token.to_string(),
        }
    }

    pub(super) fn conflict(token: &str, id: u64, other: String) -> Self {
        Self::Conflict {
            token: token.to_string(),
            id,
            other,
        }
    }
}
