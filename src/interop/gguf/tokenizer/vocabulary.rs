use std::collections::HashMap;

use super::{TokenType, TokenizerError, keys};
use crate::interop::gguf::GgufMetadata;

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
            let found = format!("of {vocab_size} tokens");
            let expected = "at most 2^24 tokens";
            return Err(TokenizerError::unsupported("vocabulary", found, expected));
        }
        Ok(Self {
            tokens: vec![None; vocab_size],
            ids: HashMap::new(),
        })
    }

    /// The tokens of a file, without those that only fill the vocabulary up.
    pub fn from_metadata(metadata: &'a GgufMetadata) -> Result<Self, TokenizerError> {
        let texts: &[String] = metadata.required(keys::TOKENS)?;
        let types: Option<&[i32]> = metadata.optional(keys::TOKEN_TYPES)?;
        if let Some(types) = types {
            keys::check_length(keys::TOKEN_TYPES, texts.len(), types.len())?;
        }
        let mut vocabulary = Self::new(texts.len())?;
        for (id, text) in texts.iter().enumerate() {
            let token_type = match types {
                Some(types) => TokenType::from_id(types[id])?,
                None => TokenType::Normal,
            };
            if token_type != TokenType::Unused || *text != keys::padding(id) {
                vocabulary.add(text, id as u64, token_type)?;
            }
        }
        Ok(vocabulary)
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
        let conflict = |other| TokenizerError::conflict(text, id, other);
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
        id.ok_or_else(|| TokenizerError::missing(purpose, format!("{text:?}")))
    }

    /// The id, if the model has it.
    pub fn check_id(&self, id: u32, purpose: &'static str) -> Result<u32, TokenizerError> {
        match (id as usize) < self.tokens.len() {
            true => Ok(id),
            false => Err(TokenizerError::missing(purpose, id)),
        }
    }

    /// Number, text and type of every token.
    pub fn tokens(&self) -> impl Iterator<Item = (usize, &'a str, TokenType)> {
        let tokens = self.tokens.iter().enumerate();
        tokens.filter_map(|(id, token)| token.map(|(text, token_type)| (id, text, token_type)))
    }

    /// Text and type of every id; `None` for those without a token.
    pub fn iter(&self) -> impl Iterator<Item = Option<(&'a str, TokenType)>> {
        self.tokens.iter().copied()
    }

    pub fn type_of(&self, text: &str) -> Option<TokenType> {
        let id = *self.ids.get(text)?;
        self.tokens[id as usize].map(|(_, token_type)| token_type)
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
                    Some(other) => {
                        let other = format!("its id {other}");
                        Err(TokenizerError::conflict(&padding, id as u64, other))
                    }
                };
            };
            Ok(text.to_string())
        });
        texts.collect()
    }
}
