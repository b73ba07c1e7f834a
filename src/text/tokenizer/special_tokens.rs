//! Special tokens by name, and those around a text.

use std::{collections::HashMap, path::Path};

use serde_json::{Map, Value};
use tokenizers::{Encoding, Token};

use super::model_folder::{json_file, special_token};
use crate::text::TextError;

/// Names of special tokens in transformers.
const NAMES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
/// File of special tokens of versions of transformers up to 4.33.
const LEGACY_FILE: &str = "special_tokens_map.json";

/// Special tokens of a tokenizer.
#[derive(Debug, Clone, Default)]
pub(super) struct SpecialTokens {
    /// Named special tokens, in the order of transformers.
    pub named: Vec<(&'static str, String)>,
    /// Texts of all tokens that are omitted from decoded text.
    pub texts: HashMap<u32, String>,
    pub prefix: Vec<u32>,
    pub suffix: Vec<u32>,
}

impl SpecialTokens {
    /// Reads those of a tokenizer and of the configuration `path`; `wrong` is the error of the tokenizer.
    pub fn of(
        tokenizer: &tokenizers::Tokenizer,
        config: &Map<String, Value>,
        path: &Path,
        wrong: impl Fn(String) -> TextError,
    ) -> Result<Self, TextError> {
        let mut named = Vec::new();
        for name in NAMES {
            let token = special_token(config, name, path)?;
            named.extend(token.map(|token| (name, token)));
        }
        let added = tokenizer.get_added_tokens_decoder().into_iter();
        let special = added.filter(|(_, token)| token.special);
        let (prefix, suffix) = around(tokenizer).map_err(wrong)?;
        Ok(Self {
            named,
            texts: special.map(|(id, token)| (id, token.content)).collect(),
            prefix,
            suffix,
        })
    }
}

/// Returns the tokens that a tokenizer adds before and after a text, found by post-processing a token
/// that no vocabulary has.
fn around(tokenizer: &tokenizers::Tokenizer) -> Result<(Vec<u32>, Vec<u32>), String> {
    const TEXT: u32 = u32::MAX;
    let text = Encoding::from_tokens(vec![Token::new(TEXT, "x".to_string(), (0, 1))], 0);
    let all = tokenizer.post_process(text, None, true);
    let all = all.map_err(|error| error.to_string())?;
    match all.get_ids().split(|&id| id == TEXT).collect::<Vec<_>>()[..] {
        [prefix, suffix] => Ok((prefix.to_vec(), suffix.to_vec())),
        ref parts => Err(format!(
            "expected a post-processor that keeps a text once, found one that has it {} times",
            parts.len().saturating_sub(1)
        )),
    }
}

/// Adds the special tokens of `special_tokens_map.json` to a configuration that does not list the added
/// tokens, as transformers does.
pub(super) fn add_legacy_map(
    config: &mut Map<String, Value>,
    folder: &Path,
) -> Result<(), TextError> {
    if config.contains_key("added_tokens_decoder") {
        return Ok(());
    }
    let map = json_file(&folder.join(LEGACY_FILE))?.unwrap_or_default();
    let named = map
        .into_iter()
        .filter(|(name, _)| NAMES.contains(&name.as_str()));
    config.extend(named);
    Ok(())
}
