use serde::{Deserialize, Serialize};

/// Type of the little-endian numbers of a token file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenDType {
    /// 2 bytes, for vocabularies up to 65536.
    U16,
    /// 4 bytes.
    U32,
}

impl TokenDType {
    /// Returns the smallest type for a vocabulary.
    pub fn for_vocab(vocab_size: usize) -> Self {
        match vocab_size <= 1 << 16 {
            true => Self::U16,
            false => Self::U32,
        }
    }

    /// Size of a token in bytes.
    pub fn size(self) -> usize {
        match self {
            Self::U16 => 2,
            Self::U32 => 4,
        }
    }
}
