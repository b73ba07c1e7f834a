use std::{ops::Range, sync::Arc};

use super::TokenFile;
use crate::text::TextError;

/// A long row of tokens, any part of which can be read.
#[expect(clippy::len_without_is_empty, reason = "nobody asks for it")]
pub trait TokenStore: Send + Sync {
    /// Number of tokens.
    fn len(&self) -> usize;

    /// Appends the tokens of a range, which is inside the row.
    ///
    /// # Errors
    ///
    /// If a token is not in the vocabulary.
    fn read(&self, range: Range<usize>, tokens: &mut Vec<u32>) -> Result<(), TextError>;
}

impl TokenStore for Vec<u32> {
    fn len(&self) -> usize {
        self.len()
    }

    fn read(&self, range: Range<usize>, tokens: &mut Vec<u32>) -> Result<(), TextError> {
        tokens.extend_from_slice(&self[range]);
        Ok(())
    }
}

impl<S: TokenStore + ?Sized> TokenStore for Arc<S> {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn read(&self, range: Range<usize>, tokens: &mut Vec<u32>) -> Result<(), TextError> {
        (**self).read(range, tokens)
    }
}

/// Files of tokens, one behind the other; a window may hold the end of one and the beginning of the
/// next.
#[derive(Debug, Clone)]
pub struct TokenFiles(pub Vec<TokenFile>);

impl TokenStore for TokenFiles {
    fn len(&self) -> usize {
        self.0.iter().map(TokenStore::len).sum()
    }

    fn read(&self, range: Range<usize>, tokens: &mut Vec<u32>) -> Result<(), TextError> {
        let mut start = 0;
        for file in &self.0 {
            let end = start + file.len();
            let part = range.start.max(start)..range.end.min(end);
            if !part.is_empty() {
                file.read(part.start - start..part.end - start, tokens)?;
            }
            start = end;
        }
        Ok(())
    }
}
