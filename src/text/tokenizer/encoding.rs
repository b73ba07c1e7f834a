use std::ops::Range;

use super::Tokenizer;
use crate::text::TextError;

/// A token and its position in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetToken {
    /// Id of the token.
    pub token: u32,
    /// Byte range of the text that it encodes.
    pub bytes: Range<usize>,
}

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

    /// Encodes a text and returns the byte range of each token.
    ///
    /// # Errors
    ///
    /// If the tokenizer has no tokens for some of its characters.
    pub fn encode_with_offsets(&self, text: &str) -> Result<Vec<OffsetToken>, TextError> {
        self.check_characters(text)?;
        let encoding = self
            .inner
            .encode(text, false)
            .map_err(TextError::encoding)?;
        let tokens = encoding.get_ids().iter().zip(encoding.get_offsets());
        let token = |(&token, &(start, end)): (&u32, &(usize, usize))| OffsetToken {
            token,
            bytes: start..end,
        };
        Ok(tokens.map(token).collect())
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

    /// Decodes several sequences of tokens, including special ones.
    ///
    /// # Errors
    ///
    /// If a token is not in the vocabulary.
    pub fn decode_batch(&self, sequences: &[&[u32]]) -> Result<Vec<String>, TextError> {
        sequences.iter().map(|tokens| self.decode(tokens)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_without_tokens_are_listed() {
        let tokenizer = Tokenizer::characters("abc").unwrap();
        let error = tokenizer.encode("axb€x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the tokenizer has no tokens for ['x', '€']"
        );
        // The characters of a special token need no tokens.
        assert_eq!(tokenizer.encode("a<|endoftext|>b").unwrap(), [0, 3, 1]);
    }

    #[test]
    fn tokens_outside_the_vocabulary_are_refused() {
        let tokenizer = Tokenizer::characters("abc").unwrap();
        let error = tokenizer.decode(&[0, 9]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no token 9 in a vocabulary of 4"
        );
    }

    #[test]
    fn batches_are_their_texts() {
        let tokenizer = Tokenizer::characters("abc é").unwrap();
        let tokens = tokenizer.encode_batch(&["ab", "é c"]).unwrap();
        assert_eq!(tokens[1], tokenizer.encode("é c").unwrap());
        let texts = tokenizer.decode_batch(&[&tokens[0], &tokens[1]]).unwrap();
        assert_eq!(texts, ["ab", "é c"]);
    }

    #[test]
    fn offsets_are_the_bytes_of_tokens() {
        let tokenizer = Tokenizer::characters("a é").unwrap();
        let tokens = tokenizer.encode_with_offsets("é a").unwrap();
        let bytes: Vec<_> = tokens.into_iter().map(|token| token.bytes).collect();
        assert_eq!(bytes, [0..2, 2..3, 3..4]);
    }
}
