use super::{TokenizerError, keys};

/// What llama.cpp does with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenType {
    /// Made by merging.
    Normal,
    /// Stands for what no token stands for.
    Unknown,
    /// Never made of text, and not shown.
    Control,
    /// Found in text before anything is merged.
    UserDefined,
    /// Never used.
    Unused,
    /// One byte of a character that has no token.
    Byte,
}

impl TokenType {
    const ALL: [Self; 6] = [
        Self::Normal,
        Self::Unknown,
        Self::Control,
        Self::UserDefined,
        Self::Unused,
        Self::Byte,
    ];

    /// Number of the type in files.
    pub fn id(self) -> i32 {
        self as i32 + 1
    }

    /// The type with a number.
    pub fn from_id(id: i32) -> Result<Self, TokenizerError> {
        let known = Self::ALL.into_iter().find(|known| known.id() == id);
        known.ok_or_else(|| TokenizerError::Field {
            path: keys::TOKEN_TYPES.to_string(),
            expected: "types from 1 to 6",
            found: id.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for id in 1..=6 {
            assert_eq!(TokenType::from_id(id).unwrap().id(), id);
        }
        for id in [i32::MIN, -1, 0, 7] {
            assert!(TokenType::from_id(id).is_err());
        }
    }
}
