use serde::{Deserialize, Serialize};

/// Norm of queries and keys before their rotation.
///
/// A missing value in a configuration is [`None`](Self::None).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", from = "Option<Word>")]
#[non_exhaustive]
pub enum QkNorm {
    /// No norm.
    #[default]
    None,
    /// An RMS norm over the values of each head, with one weight for the queries and one for the keys:
    /// Qwen3.
    PerHead,
}

/// Serialized form. Deserialized as an option, a missing field is none.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    None,
    PerHead,
}

impl From<Option<Word>> for QkNorm {
    fn from(word: Option<Word>) -> Self {
        match word {
            None | Some(Word::None) => Self::None,
            Some(Word::PerHead) => Self::PerHead,
        }
    }
}
