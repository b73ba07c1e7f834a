use std::ops::Range;

use super::{TokenFile, TokenStore};
use crate::text::TextError;

/// Concatenated token files; a window may hold the end of one and the beginning of the next.
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
