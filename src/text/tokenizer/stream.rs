use super::Tokenizer;
use crate::text::TextError;

/// Maximum number of tokens that wait for the rest of a character. A character has at most 4 bytes, so
/// one that is incomplete after 4 tokens is invalid.
const MAX_WAITING: usize = 8;

/// Decodes a stream of tokens into complete characters: a character of several tokens is returned with
/// the last of them.
///
/// Special tokens, such as the end of the text, are omitted.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), bitnet_burn::text::TextError> {
/// use bitnet_burn::text::{TextStream, Tokenizer};
///
/// let tokenizer = Tokenizer::characters("wood")?;
/// let mut stream = TextStream::new(&tokenizer);
/// let mut text = String::new();
/// for token in tokenizer.encode("wood")? {
///     text += &stream.push(token)?;
/// }
/// text += &stream.finish()?;
/// assert_eq!(text, "wood");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// Tokens whose text was returned last, followed by waiting tokens.
    tokens: Vec<u32>,
    /// Number of tokens whose text was returned. They are kept because some tokenizers decode the first
    /// token of a text differently from the same token after others.
    given: usize,
}

impl<'a> TextStream<'a> {
    /// Creates a stream at the beginning of a text.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self {
            tokenizer,
            tokens: Vec::new(),
            given: 0,
        }
    }

    /// Adds a token and returns the text that it completes; may be empty.
    ///
    /// # Errors
    ///
    /// If the token is not in the vocabulary.
    pub fn push(&mut self, token: u32) -> Result<String, TextError> {
        self.tokens.push(token);
        let text = self.new_text()?;
        let half = text.ends_with(char::REPLACEMENT_CHARACTER);
        let waiting = self.tokens.len() - self.given;
        if text.is_empty() || (half && waiting < MAX_WAITING) {
            return Ok(String::new());
        }
        self.tokens.drain(..self.given);
        self.given = self.tokens.len();
        Ok(text)
    }

    /// Returns the text of the waiting tokens: an incomplete character as `�`.
    ///
    /// # Errors
    ///
    /// If the tokenizer fails.
    pub fn finish(mut self) -> Result<String, TextError> {
        let text = self.new_text()?;
        self.tokens.clear();
        Ok(text)
    }

    fn new_text(&self) -> Result<String, TextError> {
        let given = self.tokenizer.decode_text(&self.tokens[..self.given])?;
        let mut all = self.tokenizer.decode_text(&self.tokens)?;
        // The new token changed how the tokenizer decodes the returned ones: no new text yet.
        if !all.is_char_boundary(given.len().min(all.len())) {
            return Ok(String::new());
        }
        Ok(all.split_off(given.len().min(all.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tokenizer whose multi-byte characters are one token per byte.
    fn bytes() -> Tokenizer {
        let whole = Tokenizer::characters("é€a�").unwrap();
        let mut json = whole.json().unwrap();
        json["model"]["merges"] = serde_json::json!([]);
        Tokenizer::from_json(&json, whole.config().clone(), None).unwrap()
    }

    #[test]
    fn only_whole_characters_come_out() {
        let tokenizer = bytes();
        let tokens = tokenizer.encode("aé€").unwrap();
        assert_eq!(tokens.len(), 6);
        let mut stream = TextStream::new(&tokenizer);
        let pieces: Vec<String> = (tokens.iter())
            .map(|&token| stream.push(token).unwrap())
            .collect();
        assert_eq!(pieces, ["a", "", "é", "", "", "€"]);
        assert_eq!(stream.finish().unwrap(), "");
    }

    #[test]
    fn half_a_character_comes_at_the_end() {
        let tokenizer = bytes();
        let tokens = tokenizer.encode("€").unwrap();
        let mut stream = TextStream::new(&tokenizer);
        assert_eq!(stream.push(tokens[0]).unwrap(), "");
        assert_eq!(stream.finish().unwrap(), "�");
    }

    #[test]
    fn what_never_gets_whole_does_not_wait_forever() {
        let tokenizer = bytes();
        let half = tokenizer.encode("€").unwrap()[0];
        let mut stream = TextStream::new(&tokenizer);
        let pieces: Vec<String> = (0..MAX_WAITING)
            .map(|_| stream.push(half).unwrap())
            .collect();
        assert!(!pieces[MAX_WAITING - 1].is_empty(), "{pieces:?}");
    }

    #[test]
    fn special_tokens_are_left_out() {
        let tokenizer = Tokenizer::characters("ab").unwrap();
        let mut stream = TextStream::new(&tokenizer);
        assert_eq!(stream.push(0).unwrap(), "a");
        assert_eq!(stream.push(tokenizer.eos().unwrap()).unwrap(), "");
        assert_eq!(stream.push(1).unwrap(), "b");
    }
}
