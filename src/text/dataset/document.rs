use std::path::PathBuf;

use crate::text::TextError;

/// A text as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Whether each token counts in the loss when it is predicted: those of prompts do not.
    pub mask: Vec<bool>,
    /// Whether the text ends here, so that an end of text follows. Large files come in several
    /// pieces.
    pub ends: bool,
}

impl Document {
    /// A whole text, all of whose tokens count.
    pub fn new(tokens: Vec<u32>) -> Self {
        Self {
            mask: vec![true; tokens.len()],
            tokens,
            ends: true,
        }
    }

    /// Whether anything of it is learned.
    pub fn counts(&self) -> bool {
        self.mask.contains(&true)
    }

    /// A whole text whose prompt does not count.
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

/// Documents that can be read more than once, such as those of [files of text](super::TextFiles).
pub trait DocumentSource: Send + Sync {
    /// All documents, from the first on.
    ///
    /// What cannot be read is an error in the stream. After one of a malformed line the stream goes
    /// on with the next.
    fn documents(&self) -> Documents;

    /// The files that they come from, for messages.
    fn paths(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Why nothing may be learned of any of them, for messages.
    fn why_masked(&self) -> &str {
        "all of their tokens are masked"
    }
}

impl DocumentSource for Vec<Document> {
    fn documents(&self) -> Documents {
        Box::new(self.clone().into_iter().map(Ok))
    }
}
