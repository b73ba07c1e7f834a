use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use super::{TokenDType, sidecar::Sidecar};
use crate::{
    base::{
        atomic_file::{self, NewFile},
        bounds::OutOfBounds,
    },
    text::TextError,
};

/// Writes a token file and its description, a JSON file beside it: `x.bin` and `x.bin.json`.
///
/// The tokens are little-endian numbers without header or separator, as in the files of nanoGPT: 2
/// bytes each, or 4 for vocabularies above 65536. The file is written under a temporary name and
/// renamed when it is [finished](Self::finish).
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), bitnet_burn::text::TextError> {
/// use bitnet_burn::text::dataset::{TokenFile, TokenFileWriter, TokenStore};
///
/// let path = std::env::temp_dir().join(format!("tokens_{}.bin", std::process::id()));
/// let mut writer = TokenFileWriter::create(&path, 100)?;
/// writer.push(&[1, 2, 3])?;
/// writer.push(&[99])?;
/// writer.finish()?;
///
/// let file = TokenFile::open(&path)?;
/// let mut tokens = Vec::new();
/// file.read(1..4, &mut tokens)?;
/// assert_eq!(tokens, [2, 3, 99]);
/// # std::fs::remove_file(path.with_extension("bin.json")).unwrap();
/// # std::fs::remove_file(&path).unwrap();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TokenFileWriter {
    path: PathBuf,
    file: BufWriter<NewFile>,
    dtype: TokenDType,
    vocab_size: usize,
    count: u64,
}

impl TokenFileWriter {
    /// Starts the file `path` of tokens of a vocabulary.
    ///
    /// # Errors
    ///
    /// If the file cannot be created, or the vocabulary is empty.
    pub fn create(path: impl AsRef<Path>, vocab_size: usize) -> Result<Self, TextError> {
        let path = path.as_ref().to_path_buf();
        let holds = (1..=1 << 32).contains(&vocab_size);
        OutOfBounds::unless(holds, "vocab_size", "1 to 2^32", vocab_size)?;
        Ok(Self {
            file: BufWriter::new(NewFile::create(&path).map_err(TextError::io(&path))?),
            dtype: TokenDType::for_vocab(vocab_size),
            path,
            vocab_size,
            count: 0,
        })
    }

    /// Appends tokens.
    ///
    /// # Errors
    ///
    /// If a token is not in the vocabulary, or the file cannot be written.
    pub fn push(&mut self, tokens: &[u32]) -> Result<(), TextError> {
        let vocab_size = self.vocab_size;
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocab_size) {
            return Err(TextError::UnknownToken { token, vocab_size });
        }
        for &token in tokens {
            let bytes = token.to_le_bytes();
            let written = self.file.write_all(&bytes[..self.dtype.size()]);
            written.map_err(TextError::io(&self.path))?;
        }
        self.count += tokens.len() as u64;
        Ok(())
    }

    /// Renames the file and its description to their final names.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub fn finish(self) -> Result<(), TextError> {
        let sidecar = Sidecar::new(self.dtype, self.vocab_size, self.count);
        let text = serde_json::to_string_pretty(&sidecar).map_err(TextError::encoding)?;
        let sidecar = Sidecar::path(&self.path);
        let named = || -> io::Result<()> {
            let file = self.file.into_inner().map_err(|error| error.into_error())?;
            file.finish()?;
            atomic_file::write(&sidecar, |file| writeln!(file, "{text}"))
        };
        named().map_err(TextError::io(&self.path))
    }
}
