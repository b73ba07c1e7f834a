use std::{collections::VecDeque, iter::Fuse};

use burn::config::Config;
use serde::{Deserialize, Serialize};

use super::{Document, Sequence};
use crate::{base::bounds::Bounds, text::TextError};

/// Method of turning documents into sequences of fixed length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// Concatenates documents. A sequence may hold the end of one document and the beginning of the
    /// next, which then attends to the earlier one. No position is wasted.
    #[default]
    Across,
    /// Starts each document at a new sequence; a long document takes several. The rest of a sequence is
    /// padded with tokens whose targets do not count.
    Separate,
}

/// Configuration of [`Packed`] sequences.
#[derive(Config, Debug)]
pub struct PackingConfig {
    /// Number of input tokens of a sequence.
    pub context: usize,
    /// Token appended to each document; it counts if the last token of the document does.
    pub eos: Option<u32>,
    /// Token prepended to each document; it does not count.
    pub bos: Option<u32>,
    /// Method of turning documents into sequences.
    #[config(default = "Packing::Across")]
    pub packing: Packing,
}

/// Iterator of sequences of `context` + 1 tokens over a stream of documents.
///
/// The last token of a sequence is the first of the next one, unless [`Packing::Separate`] starts a
/// document there: each token is a target once. The last sequence of the stream is padded.
#[derive(Debug)]
pub struct Packed<I> {
    documents: Fuse<I>,
    config: PackingConfig,
    /// Pending tokens, and whether they count.
    row: VecDeque<(u32, bool)>,
    /// `true` if the first pending token is the last of the previous sequence.
    overlaps: bool,
    /// `true` if the pending tokens must become a sequence.
    complete: bool,
    /// `true` if the next document begins a text.
    begins: bool,
}

impl<I: Iterator<Item = Result<Document, TextError>>> Packed<I> {
    /// Creates the sequences of the documents.
    ///
    /// # Errors
    ///
    /// If the context is 0.
    pub fn new(documents: I, config: PackingConfig) -> Result<Self, TextError> {
        Bounds::COUNT.check("context", config.context)?;
        Ok(Self {
            documents: documents.fuse(),
            config,
            row: VecDeque::new(),
            overlaps: false,
            complete: false,
            begins: true,
        })
    }

    fn push(&mut self, document: Document) {
        if self.begins {
            self.row.extend(self.config.bos.map(|bos| (bos, false)));
        }
        let counts = document.mask.last().copied().unwrap_or(true);
        self.row
            .extend(document.tokens.into_iter().zip(document.mask));
        self.begins = document.ends;
        if document.ends {
            self.row.extend(self.config.eos.map(|eos| (eos, counts)));
            self.complete = self.config.packing == Packing::Separate;
        }
    }

    /// Returns the first sequence of the pending tokens, which must be enough for it.
    fn whole(&mut self) -> Sequence {
        let context = self.config.context;
        let (tokens, mask) = self.row.iter().take(context + 1).copied().unzip();
        self.row.drain(..context);
        self.overlaps = true;
        Sequence::new(tokens, mask)
    }

    /// Returns the rest of the pending tokens, padded; `None` if all of them have been targets.
    fn rest(&mut self) -> Option<Sequence> {
        let used = usize::from(self.overlaps);
        self.overlaps = false;
        let (mut tokens, mut mask): (Vec<_>, Vec<_>) = self.row.drain(..).unzip();
        if tokens.len() <= used {
            return None;
        }
        tokens.resize(self.config.context + 1, self.config.eos.unwrap_or(0));
        mask.resize(self.config.context + 1, false);
        Some(Sequence::new(tokens, mask))
    }
}

impl<I: Iterator<Item = Result<Document, TextError>>> Iterator for Packed<I> {
    type Item = Result<Sequence, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.row.len() > self.config.context {
                return Some(Ok(self.whole()));
            }
            if std::mem::take(&mut self.complete) {
                match self.rest() {
                    Some(sequence) => return Some(Ok(sequence)),
                    None => continue,
                }
            }
            match self.documents.next() {
                Some(Ok(document)) => self.push(document),
                Some(Err(error)) => return Some(Err(error)),
                None if self.row.is_empty() => return None,
                None => self.complete = true,
            }
        }
    }
}
