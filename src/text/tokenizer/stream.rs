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
