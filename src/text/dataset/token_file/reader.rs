use std::{
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use memmap2::Mmap;

use super::{TokenDType, sidecar::Sidecar};
use crate::text::{TextError, dataset::TokenStore};

/// Memory-mapped file of tokens in the format of [`TokenFileWriter`](super::TokenFileWriter) and
/// nanoGPT. Only pages that are read are in memory; clones share them.
///
/// Tokens are checked when they are read. [`check`](Self::check) checks all of them.
#[derive(Debug, Clone)]
pub struct TokenFile {
    path: PathBuf,
    /// `None` for an empty file, which not every system can map.
    bytes: Option<Arc<Mmap>>,
    dtype: TokenDType,
    vocab_size: usize,
    len: usize,
}

impl TokenFile {
    /// Opens a file with a description beside it.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, the description is invalid, or the file has another length than described.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TextError> {
        let path = path.as_ref();
        let sidecar = Sidecar::read(path)?;
        let file = Self::open_raw(path, sidecar.dtype, sidecar.vocab_size)?;
        if file.len as u64 != sidecar.count {
            return Err(TextError::Length {
                path: path.to_path_buf(),
                expected: format!(
                    "those of {} tokens of {} bytes",
                    sidecar.count,
                    sidecar.dtype.size()
                ),
                found: (file.len * sidecar.dtype.size()) as u64,
            });
        }
        Ok(file)
    }

    /// Opens a file without a description, such as one of nanoGPT, with tokens of 2 bytes.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or its length is not a multiple of the size of a token.
    pub fn open_raw(
        path: impl AsRef<Path>,
        dtype: TokenDType,
        vocab_size: usize,
    ) -> Result<Self, TextError> {
        let path = path.as_ref().to_path_buf();
        let file = File::open(&path).map_err(TextError::io(&path))?;
        let length = file.metadata().map_err(TextError::io(&path))?.len();
        if !length.is_multiple_of(dtype.size() as u64) {
            return Err(TextError::Length {
                expected: format!("a multiple of {}", dtype.size()),
                found: length,
                path,
            });
        }
        let bytes = match length {
            0 => None,
            // SAFETY: the bytes are read as numbers only, for which every value is valid, and checked after
            // that. As with every mapped file, no one may change it while it is open.
            _ => Some(Arc::new(
                unsafe { Mmap::map(&file) }.map_err(TextError::io(&path))?,
            )),
        };
        let len = bytes.as_ref().map_or(0, |bytes| bytes.len() / dtype.size());
        Ok(Self {
            path,
            bytes,
            dtype,
            vocab_size,
            len,
        })
    }

    /// Number of tokens in the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Checks every token.
    ///
    /// # Errors
    ///
    /// If a token is not in the vocabulary; the first is named.
    pub fn check(&self) -> Result<(), TextError> {
        const AT_ONCE: usize = 1 << 16;
        let mut tokens = Vec::with_capacity(AT_ONCE);
        for start in (0..self.len).step_by(AT_ONCE) {
            tokens.clear();
            self.read(start..(start + AT_ONCE).min(self.len), &mut tokens)?;
        }
        Ok(())
    }
}

impl TokenStore for TokenFile {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, range: Range<usize>, tokens: &mut Vec<u32>) -> Result<(), TextError> {
        let size = self.dtype.size();
        let bytes = self.bytes.as_ref().map_or(&[] as &[u8], |bytes| bytes);
        let bytes = &bytes[range.start * size..range.end * size];
        let first = tokens.len();
        match self.dtype {
            TokenDType::U16 => {
                let words = bytes.as_chunks().0.iter();
                tokens.extend(words.map(|&word| u32::from(u16::from_le_bytes(word))));
            }
            TokenDType::U32 => {
                let words = bytes.as_chunks().0.iter();
                tokens.extend(words.map(|&word| u32::from_le_bytes(word)));
            }
        }
        // Devices do not check indices of a gather.
        let unknown = |&token: &u32| token as usize >= self.vocab_size;
        match tokens[first..].iter().position(unknown) {
            None => Ok(()),
            Some(i) => Err(TextError::TokenInFile {
                path: self.path.clone(),
                offset: ((range.start + i) * size) as u64,
                token: tokens[first + i],
                vocab_size: self.vocab_size,
            }),
        }
    }
}
