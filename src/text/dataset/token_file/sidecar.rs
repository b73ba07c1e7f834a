use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::TokenDType;
use crate::text::TextError;

const FORMAT: &str = "bitnet-burn tokens";
const VERSION: u64 = 1;

/// Description of a token file, in a JSON file beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sidecar {
    format: String,
    version: u64,
    pub dtype: TokenDType,
    pub vocab_size: usize,
    /// Number of tokens.
    pub count: u64,
}

impl Sidecar {
    pub fn new(dtype: TokenDType, vocab_size: usize, count: u64) -> Self {
        Self {
            format: FORMAT.to_string(),
            version: VERSION,
            dtype,
            vocab_size,
            count,
        }
    }

    /// Returns the path of the description of a token file: `x.bin.json` for `x.bin`.
    pub fn path(tokens: &Path) -> PathBuf {
        let mut name = tokens.as_os_str().to_os_string();
        name.push(".json");
        name.into()
    }

    pub fn read(tokens: &Path) -> Result<Self, TextError> {
        let path = Self::path(tokens);
        let text = fs::read(&path).map_err(TextError::io(&path))?;
        let wrong = |place: &str, expected: &str, found: String| {
            TextError::value(&path, place, expected, found)
        };
        let sidecar: Self = serde_json::from_slice(&text).map_err(|error| {
            wrong(
                "file",
                "the description of a file of tokens",
                error.to_string(),
            )
        })?;
        if sidecar.format != FORMAT {
            return Err(wrong("`format`", FORMAT, sidecar.format));
        }
        if sidecar.version != VERSION {
            return Err(wrong("`version`", "1", sidecar.version.to_string()));
        }
        if sidecar.vocab_size == 0 || sidecar.vocab_size > 1 << 32 {
            let found = sidecar.vocab_size.to_string();
            return Err(wrong("`vocab_size`", "1 to 2^32 tokens", found));
        }
        Ok(sidecar)
    }
}
