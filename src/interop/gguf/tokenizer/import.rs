use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{
    SpecialIds, TokenType, TokenizerError, keys,
    merges::{self, Merge},
    normalizer, post_processor, pre_tokenizer, templates,
};
use crate::interop::gguf::GgufMetadata;

/// The tokens of a file.
struct Tokens<'a> {
    texts: &'a [String],
    types: Vec<TokenType>,
    /// Ids of all but those that only fill the vocabulary up.
    ids: HashMap<&'a str, usize>,
}

/// The `tokenizer.json` of a file's tokenizer.
///
/// If the file has `tokenizer.huggingface.json`, it is that. Otherwise it is made of the keys of
/// llama.cpp, and tokenizes as llama.cpp does, except for what depends on the place of a token in
/// the text. A tokenizer of bytes without `tokenizer.ggml.pre` splits text as llama.cpp's `default`.
///
/// # Errors
///
/// If the file has no tokenizer or one that is no byte-pair encoding, its pre-tokenizer is not known,
/// or its keys contradict each other.
pub fn from_metadata(metadata: &GgufMetadata) -> Result<Value, TokenizerError> {
    if let Some(text) = metadata.optional::<&str>(keys::HUGGING_FACE)? {
        return serde_json::from_str(text).map_err(|error| TokenizerError::Field {
            path: keys::HUGGING_FACE.to_string(),
            expected: "JSON",
            found: error.to_string(),
        });
    }
    let tokens = Tokens::read(metadata)?;
    match metadata.required::<&str>(keys::MODEL)? {
        keys::BYTES => bytes(metadata, &tokens),
        keys::CHARACTERS => characters(metadata, &tokens),
        other => Err(TokenizerError::Unsupported {
            part: "tokenizer",
            found: other.to_string(),
            expected: "a byte-pair encoding, `gpt2` or `llama`",
        }),
    }
}

/// The `tokenizer_config.json` of a file's tokenizer: its special tokens, and the chat template or
/// templates if there are any.
///
/// # Errors
///
/// If a special token is none of the file's.
pub fn config_from_metadata(metadata: &GgufMetadata) -> Result<Value, TokenizerError> {
    let texts: &[String] = metadata.required(keys::TOKENS)?;
    let ids = SpecialIds::from_metadata(metadata)?;
    let mut config = Map::new();
    config.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
    for (field, purpose, id) in [
        ("bos_token", "first", ids.bos),
        ("eos_token", "last", ids.eos),
        ("unk_token", "unknown", ids.unk),
        ("pad_token", "padding", ids.pad),
    ] {
        let Some(id) = id else {
            continue;
        };
        let text = texts.get(id as usize);
        let text = text.ok_or_else(|| TokenizerError::MissingToken {
            purpose,
            token: id.to_string(),
        })?;
        config.insert(field.into(), text.as_str().into());
    }
    if let Some(template) = templates::read(metadata)? {
        config.insert("chat_template".into(), template);
    }
    Ok(config.into())
}

impl<'a> Tokens<'a> {
    fn read(metadata: &'a GgufMetadata) -> Result<Self, TokenizerError> {
        let texts: &[String] = metadata.required(keys::TOKENS)?;
        let types = match metadata.optional::<&[i32]>(keys::TOKEN_TYPES)? {
            None => vec![TokenType::Normal; texts.len()],
            Some(types) => {
                check_length(keys::TOKEN_TYPES, texts.len(), types.len())?;
                types.iter().map(token_type).collect::<Result<_, _>>()?
            }
        };
        let mut ids = HashMap::with_capacity(texts.len());
        for (id, (text, token_type)) in texts.iter().zip(&types).enumerate() {
            if *token_type == TokenType::Unused && *text == keys::padding(id) {
                continue;
            }
            if let Some(other) = ids.insert(text.as_str(), id) {
                return Err(TokenizerError::Conflict {
                    token: text.clone(),
                    id: id as u64,
                    other: format!("its id {other}"),
                });
            }
        }
        Ok(Self { texts, types, ids })
    }

    fn text(&self, id: u32, purpose: &'static str) -> Result<(&'a str, u32), TokenizerError> {
        match self.texts.get(id as usize) {
            Some(text) => Ok((text, id)),
            None => Err(TokenizerError::MissingToken {
                purpose,
                token: id.to_string(),
            }),
        }
    }

    /// All tokens by their ids. Those that are added are among them: that gives them their ids.
    fn vocabulary(&self) -> Map<String, Value> {
        let ids = self.ids.iter();
        ids.map(|(text, &id)| (text.to_string(), id.into()))
            .collect()
    }

    /// Tokens that are found in text before it is split.
    fn added(&self) -> Vec<Value> {
        let tokens = self.texts.iter().zip(&self.types).enumerate();
        let added = tokens.filter_map(|(id, (text, token_type))| {
            let special = match token_type {
                TokenType::Control | TokenType::Unknown => true,
                TokenType::UserDefined => false,
                _ => return None,
            };
            Some(json!({
                "id": id, "content": text, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": special,
            }))
        });
        added.collect()
    }

    /// Ids of the tokens that are made by merging.
    fn mergeable(&self) -> HashMap<&'a str, usize> {
        let ids = self.ids.iter();
        ids.filter(|&(_, &id)| self.types[id] == TokenType::Normal)
            .map(|(&text, &id)| (text, id))
            .collect()
    }
}

fn token_type(id: &i32) -> Result<TokenType, TokenizerError> {
    TokenType::from_id(*id).ok_or_else(|| TokenizerError::Field {
        path: keys::TOKEN_TYPES.to_string(),
        expected: "types from 1 to 6",
        found: id.to_string(),
    })
}

fn check_length(key: &'static str, expected: usize, found: usize) -> Result<(), TokenizerError> {
    if expected == found {
        return Ok(());
    }
    Err(TokenizerError::Length {
        key,
        expected,
        found,
    })
}

/// The merges of the file, of tokens that it has.
fn read_merges<'a>(
    merges: &'a [String],
    tokens: &Tokens<'_>,
) -> Result<Vec<Merge<'a>>, TokenizerError> {
    let merges = merges.iter().map(|text| merges::split(text));
    let merges: Vec<Merge<'a>> = merges.collect::<Result<_, _>>()?;
    merges::check(&merges, |text| tokens.ids.contains_key(text))?;
    Ok(merges)
}

/// The tokens around a text as a template, if there are any; `add_bos` is what llama.cpp does if the
/// file does not tell.
fn template(
    metadata: &GgufMetadata,
    tokens: &Tokens<'_>,
    add_bos: bool,
) -> Result<Option<Value>, TokenizerError> {
    let ids = SpecialIds::from_metadata(metadata)?;
    let add_bos = metadata.optional(keys::ADD_BOS)?.unwrap_or(add_bos);
    let add_eos = metadata.optional(keys::ADD_EOS)?.unwrap_or(false);
    let around = |add: bool, id: Option<u32>, purpose| match id.filter(|_| add) {
        Some(id) => tokens.text(id, purpose).map(Some),
        None => Ok(None),
    };
    let first = around(add_bos, ids.bos, "first")?;
    let last = around(add_eos, ids.eos, "last")?;
    let any = first.is_some() || last.is_some();
    Ok(any.then(|| post_processor::template(first, last)))
}

fn bytes(metadata: &GgufMetadata, tokens: &Tokens<'_>) -> Result<Value, TokenizerError> {
    let pre = metadata.optional::<&str>(keys::PRE)?;
    let pre = pre
        .filter(|pre| !pre.is_empty())
        .unwrap_or(keys::DEFAULT_PRE);
    let (pre_tokenizer, ignore_merges) = pre_tokenizer::of_name(pre)?;
    let merges = read_merges(metadata.required(keys::MERGES)?, tokens)?;
    // The tokenizers that llama.cpp does not merge for are those that it adds a first token for.
    let template = template(metadata, tokens, ignore_merges)?;
    let byte_level = |trim_offsets: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": trim_offsets,
            "use_regex": true,
        })
    };
    let post_processor = match template {
        None => byte_level(false),
        Some(template) => {
            json!({"type": "Sequence", "processors": [byte_level(false), template]})
        }
    };
    // As all tokenizers of the family have it.
    let normalizer = if pre == "qwen2" {
        json!({"type": "NFC"})
    } else {
        Value::Null
    };
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": tokens.added(),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor,
        "decoder": byte_level(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": ignore_merges,
            "vocab": tokens.vocabulary(), "merges": merges,
        },
    }))
}

fn characters(metadata: &GgufMetadata, tokens: &Tokens<'_>) -> Result<Value, TokenizerError> {
    let space_prefix = metadata.optional(keys::ADD_SPACE_PREFIX)?.unwrap_or(true);
    let mergeable = tokens.mergeable();
    let merges = match metadata.optional::<&[String]>(keys::MERGES)? {
        Some(merges) => read_merges(merges, tokens)?,
        // Files of llama.cpp's own converter.
        None => {
            let scores: &[f32] = metadata.required(keys::SCORES)?;
            check_length(keys::SCORES, tokens.texts.len(), scores.len())?;
            merges::of_scores(&mergeable, scores)?
        }
    };
    let unk_token = match SpecialIds::from_metadata(metadata)?.unk {
        Some(id) => Some(tokens.text(id, "unknown")?.0),
        None => None,
    };
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": tokens.added(),
        "normalizer": normalizer::of_characters(space_prefix),
        "pre_tokenizer": null,
        "post_processor": template(metadata, tokens, true)?,
        "decoder": normalizer::decoder(space_prefix),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unk_token,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
            "byte_fallback": true, "ignore_merges": false,
            "vocab": tokens.vocabulary(), "merges": merges,
        },
    }))
}
