use std::sync::Arc;

use super::{Document, DocumentSource, Documents, Shuffle};
use crate::{quant::mix, text::TextError};

/// The documents of a source again and again, in another order each time.
pub(super) struct Passes {
    source: Arc<dyn DocumentSource>,
    buffer: usize,
    seed: u64,
    next_pass: u64,
    documents: Option<Shuffle<Documents, Document>>,
    /// Whether this pass gave anything to train on.
    any: bool,
}

impl Passes {
    pub fn new(source: Arc<dyn DocumentSource>, buffer: usize, seed: u64) -> Self {
        Self {
            source,
            buffer,
            seed,
            next_pass: 0,
            documents: None,
            any: false,
        }
    }
}

impl Iterator for Passes {
    type Item = Result<Document, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(document) = self.documents.as_mut().and_then(Iterator::next) {
                self.any |= matches!(&document, Ok(document) if !document.tokens.is_empty());
                return Some(document);
            }
            let first = self.documents.is_none();
            if !first && !self.any {
                // Another pass would find nothing either.
                self.documents = None;
                let paths = self.source.paths();
                return Some(Err(TextError::NoDocuments { paths }));
            }
            let seed = mix(mix(self.seed) ^ self.next_pass);
            self.documents = Some(Shuffle::new(self.source.documents(), self.buffer, seed));
            self.next_pass += 1;
            self.any = false;
        }
    }
}
