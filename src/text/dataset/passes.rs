use std::sync::Arc;

use super::{Document, DocumentSource, Documents, learned::check_learned, shuffle::Shuffle};
use crate::{base::random::mix, text::TextError};

/// Endless passes over the documents of a source, each in another order.
pub(super) struct Passes {
    source: Arc<dyn DocumentSource>,
    buffer: usize,
    seed: u64,
    next_pass: u64,
    documents: Option<Shuffle<Documents, Document>>,
    /// Number of documents of this pass that have tokens.
    any: usize,
    /// `true` if any token of the pass counts in the loss.
    counts: bool,
}

impl Passes {
    pub fn new(source: Arc<dyn DocumentSource>, buffer: usize, seed: u64) -> Self {
        Self {
            source,
            buffer,
            seed,
            next_pass: 0,
            documents: None,
            any: 0,
            counts: false,
        }
    }
}

impl Iterator for Passes {
    type Item = Result<Document, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(document) = self.documents.as_mut().and_then(Iterator::next) {
                if let Ok(document) = &document {
                    self.any += usize::from(!document.tokens.is_empty());
                    self.counts |= document.counts();
                }
                return Some(document);
            }
            if self.documents.take().is_some()
                && let Err(error) = check_learned(&*self.source, self.any, self.counts)
            {
                // Another pass would also find nothing.
                return Some(Err(error));
            }
            let seed = mix(mix(self.seed) ^ self.next_pass);
            self.documents = Some(Shuffle::new(self.source.documents(), self.buffer, seed));
            self.next_pass += 1;
            self.any = 0;
            self.counts = false;
        }
    }
}
