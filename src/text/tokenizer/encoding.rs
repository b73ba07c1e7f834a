use std::ops::Range;

use super::Tokenizer;
use crate::text::TextError;

impl Tokenizer {
    /// Encodes a text.
    ///
    /// # Errors
    ///
    /// If the tokenizer has no tokens for some of its characters.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        self.encode_as(text, false)
    }

    /// Encodes a text and adds the special tokens of the tokenizer around it, such as one that begins a
    /// text.
    ///
    /// # Errors
    ///
    /// If the tokenizer has no tokens for some of its characters.
    pub fn encode_with_special_tokens(&self, text: &str) -> Result<Vec<u32>, TextError> {
        self.encode_as(text, true)
    }

    fn encode_as(&self, text: &str, special: bool) -> Result<Vec<u32>, TextError> {
        self.check_characters(text)?;
        let encoding = self.inner.encode_fast(text, special);
        Ok(encoding.map_err(TextError::encoding)?.get_ids().to_vec())
    }

    /// Encodes several texts on all cores.
    ///
    /// # Errors
    ///
    /// If the tokenizer has no tokens for some of their characters.
    pub fn encode_batch(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>, TextError> {
        for text in texts {
            self.check_characters(text)?;
        }
        let encodings = self.inner.encode_batch_fast(texts.to_vec(), false);
        let encodings = encodings.map_err(TextError::encoding)?;
        Ok(encodings.iter().map(|e| e.get_ids().to_vec()).collect())
    }

    /// Encodes a text and returns each token with its byte range in the text.
    ///
    /// # Errors
    ///
    /// If the tokenizer has no tokens for some of its characters.
    pub fn encode_with_offsets(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>, TextError> {
        self.check_characters(text)?;
        let encoding = self.inner.encode(text, false);
        let encoding = encoding.map_err(TextError::encoding)?;
        let offsets = encoding
            .get_offsets()
            .iter()
            .map(|&(start, end)| start..end);
        Ok(encoding.get_ids().iter().copied().zip(offsets).collect())
    }

    /// Decodes tokens, including special ones. Invalid UTF-8 becomes `�`.
    ///
    /// # Errors
    ///
    /// If a token is not in the vocabulary.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, TextError> {
        self.decode_as(tokens, false)
    }

    /// Decodes tokens without the special ones.
    ///
    /// # Errors
    ///
    /// If a token is not in the vocabulary.
    pub fn decode_text(&self, tokens: &[u32]) -> Result<String, TextError> {
        self.decode_as(tokens, true)
    }

    fn decode_as(&self, tokens: &[u32], skip_special: bool) -> Result<String, TextError> {
        for &token in tokens {
            self.check(token)?;
        }
        (self.inner.decode(tokens, skip_special)).map_err(TextError::encoding)
    }

    fn check_characters(&self, text: &str) -> Result<(), TextError> {
        let Some(missing) = &self.missing else {
            return Ok(());
        };
        if missing.characters(text).is_empty() {
            return Ok(());
        }
        // Added tokens are matched before a text is split into bytes.
        let mut rest = text.to_string();
        let splits = self.inner.get_encode_special_tokens();
        for token in self.inner.get_added_tokens_decoder().values() {
            if !(splits && token.special) {
                rest = rest.replace(&token.content, "");
            }
        }
        match missing.characters(&rest) {
            characters if characters.is_empty() => Ok(()),
            characters => Err(TextError::UnknownCharacters { characters }),
        }
    }
}
