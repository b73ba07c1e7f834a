use serde::{Deserialize, Serialize};

/// How tokens are written in a file: as little-endian numbers of this type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenDType {
    /// 2 bytes, for vocabularies up to 65536.
    U16,
    /// 4 bytes.
    U32,
}

impl TokenDType {
    /// The smallest type for a vocabulary.
    pub fn for_vocab(vocab_size: usize) -> Self {
        match vocab_size <= 1 << 16 {
            true => Self::U16,
            false => Self::U32,
        }
    }

    /// Bytes of a token.
    pub fn size(self) -> usize {
        match self {
            Self::U16 => 2,
            Self::U32 => 4,
        }
    }
}
