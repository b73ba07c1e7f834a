use std::{ops::Range, path::PathBuf};

use super::{TokenDType, TokenFile, TokenStore};
use crate::text::TextError;

/// Concatenated token files; a window may hold the end of one and the beginning of the next.
#[derive(Debug, Clone)]
pub struct TokenFiles(pub Vec<TokenFile>);

impl TokenFiles {
    /// Opens files; those without a description have tokens of a vocabulary of `vocab_size`.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or has another length than its description says.
    pub fn open(paths: &[PathBuf], vocab_size: usize) -> Result<Self, TextError> {
        let open = |path: &PathBuf| match path.with_added_extension("json").exists() {
            true => TokenFile::open(path),
            false => TokenFile::open_raw(path, TokenDType::for_vocab(vocab_size), vocab_size),
        };
        paths.iter().map(open).collect::<Result<_, _>>().map(Self)
    }
}

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
