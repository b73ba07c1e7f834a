use std::collections::HashMap;

use super::{TokenType, TokenizerError, keys};

/// Most tokens: ids and ranks must be exact in `f32`, which scores are.
const MAX_TOKENS: usize = 1 << 24;

/// The tokens of a tokenizer by their ids.
pub struct Vocabulary<'a> {
    tokens: Vec<Option<(&'a str, TokenType)>>,
    ids: HashMap<&'a str, u32>,
}

impl<'a> Vocabulary<'a> {
    pub fn new(vocab_size: usize) -> Result<Self, TokenizerError> {
        if vocab_size > MAX_TOKENS {
            return Err(TokenizerError::Unsupported {
                part: "vocabulary",
                found: format!("of {vocab_size} tokens"),
                expected: "at most 2^24 tokens",
            });
        }
        Ok(Self {
            tokens: vec![None; vocab_size],
            ids: HashMap::new(),
        })
    }

    /// Adds a token, or changes its type.
    pub fn add(
        &mut self,
        text: &'a str,
        id: u64,
        token_type: TokenType,
    ) -> Result<(), TokenizerError> {
        let vocab_size = self.tokens.len();
        let place = usize::try_from(id).ok().filter(|&id| id < vocab_size);
        let Some(place) = place else {
            return Err(TokenizerError::VocabSize {
                token: text.to_string(),
                id,
                vocab_size,
            });
        };
        let conflict = |other| TokenizerError::Conflict {
            token: text.to_string(),
            id,
            other,
        };
        match self.tokens[place] {
            Some((other, _)) if other != text => return Err(conflict(format!("{other:?}"))),
            _ => self.tokens[place] = Some((text, token_type)),
        }
        match self.ids.insert(text, place as u32) {
            Some(other) if other as usize != place => Err(conflict(format!("its id {other}"))),
            _ => Ok(()),
        }
    }

    /// The id of a token.
    pub fn id_of(&self, text: &str, purpose: &'static str) -> Result<u32, TokenizerError> {
        let id = self.ids.get(text).copied();
        id.ok_or_else(|| TokenizerError::MissingToken {
            purpose,
            token: format!("{text:?}"),
        })
    }

    /// The id, if the model has it.
    pub fn check_id(&self, id: u32, purpose: &'static str) -> Result<u32, TokenizerError> {
        if (id as usize) < self.tokens.len() {
            return Ok(id);
        }
        Err(TokenizerError::MissingToken {
            purpose,
            token: id.to_string(),
        })
    }

    /// Text and type of a token, if there is one of the id.
    pub fn get(&self, id: u32) -> Option<(&'a str, TokenType)> {
        self.tokens.get(id as usize).copied().flatten()
    }

    /// Text and type of every id; `None` for those without a token.
    pub fn iter(&self) -> impl Iterator<Item = Option<(&'a str, TokenType)>> {
        self.tokens.iter().copied()
    }

    pub fn type_of(&self, text: &str) -> Option<TokenType> {
        let id = *self.ids.get(text)?;
        self.get(id).map(|(_, token_type)| token_type)
    }

    /// Gives tokens of bytes and the unknown one their types.
    pub fn mark_bytes(&mut self, unk_token: Option<&str>) -> Result<(), TokenizerError> {
        for byte in 0..=u8::MAX {
            let id = self.id_of(&format!("<0x{byte:02X}>"), "byte")?;
            self.set_type(id, TokenType::Byte);
        }
        if let Some(unk_token) = unk_token {
            let id = self.id_of(unk_token, "unknown")?;
            self.set_type(id, TokenType::Unknown);
        }
        Ok(())
    }

    fn set_type(&mut self, id: u32, token_type: TokenType) {
        if let Some(Some(token)) = self.tokens.get_mut(id as usize) {
            token.1 = token_type;
        }
    }

    /// Texts of all ids.
    pub fn texts(&self) -> Result<Vec<String>, TokenizerError> {
        let texts = self.iter().enumerate().map(|(id, token)| {
            let Some((text, _)) = token else {
                let padding = keys::padding(id);
                // llama.cpp looks texts up: two of one text would be one.
                return match self.ids.get(padding.as_str()) {
                    None => Ok(padding),
                    Some(other) => Err(TokenizerError::Conflict {
                        token: padding,
                        id: id as u64,
                        other: format!("its id {other}"),
                    }),
                };
            };
            Ok(text.to_string())
        });
        texts.collect()
    }
}
