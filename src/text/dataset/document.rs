use std::path::PathBuf;

use crate::text::TextError;

/// A tokenized text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Tokens of the text.
    pub tokens: Vec<u32>,
    /// `true` for tokens that count in the loss when predicted; `false` for tokens of a prompt.
    pub mask: Vec<bool>,
    /// `true` if the text ends here, so that an end-of-text token follows. Large files are split into
    /// several pieces.
    pub ends: bool,
}

impl Document {
    /// Creates a complete text, all of whose tokens count.
    pub fn new(tokens: Vec<u32>) -> Self {
        Self {
            mask: vec![true; tokens.len()],
            tokens,
            ends: true,
        }
    }

    /// Returns whether any token counts in the loss.
    pub fn counts(&self) -> bool {
        self.mask.contains(&true)
    }

    /// Creates a complete text whose prompt does not count.
    pub fn with_prompt(prompt: &[u32], completion: &[u32]) -> Self {
        let mut mask = vec![false; prompt.len()];
        mask.resize(prompt.len() + completion.len(), true);
        Self {
            tokens: [prompt, completion].concat(),
            mask,
            ends: true,
        }
    }
}

/// A stream of documents.
pub type Documents = Box<dyn Iterator<Item = Result<Document, TextError>> + Send>;

/// Documents that can be read repeatedly, such as those of [text files](super::TextFiles).
pub trait DocumentSource: Send + Sync {
    /// Returns all documents, from the first on.
    ///
    /// A read error is an item of the stream. After the error of a malformed line, the stream continues
    /// with the next line.
    fn documents(&self) -> Documents;

    /// Returns the files of the documents, for error messages.
    fn paths(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Returns the reason why no document has a token that counts, for error messages.
    fn why_masked(&self) -> &str {
        "all of their tokens are masked"
    }
}

impl DocumentSource for Vec<Document> {
    fn documents(&self) -> Documents {
        Box::new(self.clone().into_iter().map(Ok))
    }
}
