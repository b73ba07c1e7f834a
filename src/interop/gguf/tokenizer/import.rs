use serde_json::{Map, Value, json};

use super::{
    SpecialIds, TokenType, TokenizerError,
    ends::generation_config,
    keys,
    merges::{self, Merge},
    normalizer, post_processor, pre_tokenizer, templates,
    vocabulary::Vocabulary,
};
use crate::interop::gguf::GgufMetadata;

/// The files of a tokenizer beside a model of Hugging Face.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenizerFiles {
    /// `tokenizer.json`.
    pub tokenizer: Value,
    /// `tokenizer_config.json`: the special tokens, and the chat template or templates if there are any.
    pub config: Value,
    /// `generation_config.json`: the tokens that begin, end and fill up.
    pub generation_config: Value,
}

/// Returns the tokenizer of a file as the files that Hugging Face has for one.
///
/// If the file has `tokenizer.huggingface.json`, the tokenizer is that. Otherwise it is made of the keys of
/// llama.cpp, and tokenizes as llama.cpp does, except for what depends on the place of a token in
/// the text. A tokenizer of bytes without `tokenizer.ggml.pre` splits text as llama.cpp's `default`.
///
/// # Errors
///
/// If the file has no tokenizer or one that is no byte-pair encoding, its pre-tokenizer is not known, a
/// special token is none of the file's, or its keys contradict each other.
pub fn from_metadata(metadata: &GgufMetadata) -> Result<TokenizerFiles, TokenizerError> {
    Ok(TokenizerFiles {
        tokenizer: tokenizer(metadata)?,
        config: config(metadata)?,
        generation_config: generation_config(metadata)?,
    })
}

fn tokenizer(metadata: &GgufMetadata) -> Result<Value, TokenizerError> {
    if let Some(text) = metadata.optional::<&str>(keys::HUGGING_FACE)? {
        return serde_json::from_str(text).map_err(|error| TokenizerError::Field {
            path: keys::HUGGING_FACE.to_string(),
            expected: "JSON",
            found: error.to_string(),
        });
    }
    let vocabulary = Vocabulary::from_metadata(metadata)?;
    match metadata.required::<&str>(keys::MODEL)? {
        keys::BYTES => bytes(metadata, &vocabulary),
        keys::CHARACTERS => characters(metadata, &vocabulary),
        other => {
            let expected = "a byte-pair encoding, `gpt2` or `llama`";
            Err(TokenizerError::unsupported("tokenizer", other, expected))
        }
    }
}

fn config(metadata: &GgufMetadata) -> Result<Value, TokenizerError> {
    let ids = SpecialIds::from_metadata(metadata)?;
    let mut config = Map::new();
    config.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
    for (field, purpose, id) in [
        ("bos_token", "first", ids.bos),
        ("eos_token", "last", ids.eos),
        ("unk_token", "unknown", ids.unk),
        ("pad_token", "padding", ids.pad),
    ] {
        if let Some(id) = id {
            config.insert(field.into(), text_of(metadata, id, purpose)?.into());
        }
    }
    if let Some(template) = templates::read(metadata)? {
        config.insert("chat_template".into(), template);
    }
    Ok(config.into())
}

fn text_of<'a>(
    metadata: &'a GgufMetadata,
    id: u32,
    purpose: &'static str,
) -> Result<&'a str, TokenizerError> {
    let texts: &[String] = metadata.required(keys::TOKENS)?;
    let text = texts.get(id as usize).map(String::as_str);
    text.ok_or_else(|| TokenizerError::missing(purpose, id))
}

/// All tokens by their ids. Those that are added are among them: that gives them their ids.
fn vocab(vocabulary: &Vocabulary<'_>) -> Map<String, Value> {
    let tokens = vocabulary.tokens();
    tokens
        .map(|(id, text, _)| (text.to_string(), id.into()))
        .collect()
}

/// Tokens that are found in text before it is split.
fn added(vocabulary: &Vocabulary<'_>) -> Vec<Value> {
    let added = vocabulary.tokens().filter_map(|(id, text, token_type)| {
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

/// The merges of the file, of tokens that it has.
fn read_merges<'a>(
    merges: &'a [String],
    vocabulary: &Vocabulary<'_>,
) -> Result<Vec<Merge<'a>>, TokenizerError> {
    let merges = merges.iter().map(|text| merges::split(text));
    let merges: Vec<Merge<'a>> = merges.collect::<Result<_, _>>()?;
    merges::check(&merges, vocabulary)?;
    Ok(merges)
}

/// The tokens around a text as a template, if there are any; `add_bos` is what llama.cpp does if the
/// file does not tell.
fn template(metadata: &GgufMetadata, add_bos: bool) -> Result<Option<Value>, TokenizerError> {
    let ids = SpecialIds::from_metadata(metadata)?;
    let add_bos = metadata.optional(keys::ADD_BOS)?.unwrap_or(add_bos);
    let add_eos = metadata.optional(keys::ADD_EOS)?.unwrap_or(false);
    let around = |add: bool, id: Option<u32>, purpose| match id.filter(|_| add) {
        Some(id) => Ok::<_, TokenizerError>(Some((text_of(metadata, id, purpose)?, id))),
        None => Ok(None),
    };
    let first = around(add_bos, ids.bos, "first")?;
    let last = around(add_eos, ids.eos, "last")?;
    let any = first.is_some() || last.is_some();
    Ok(any.then(|| post_processor::template(first, last)))
}

fn bytes(metadata: &GgufMetadata, vocabulary: &Vocabulary<'_>) -> Result<Value, TokenizerError> {
    let pre = metadata.optional::<&str>(keys::PRE)?;
    let pre = pre
        .filter(|pre| !pre.is_empty())
        .unwrap_or(keys::DEFAULT_PRE);
    let (pre_tokenizer, ignore_merges) = pre_tokenizer::of_name(pre)?;
    let merges = read_merges(metadata.required(keys::MERGES)?, vocabulary)?;
    // The tokenizers that llama.cpp does not merge for are those that it adds a first token for.
    let template = template(metadata, ignore_merges)?;
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
        "added_tokens": added(vocabulary),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor,
        "decoder": byte_level(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": ignore_merges,
            "vocab": vocab(vocabulary), "merges": merges,
        },
    }))
}

fn characters(
    metadata: &GgufMetadata,
    vocabulary: &Vocabulary<'_>,
) -> Result<Value, TokenizerError> {
    let space_prefix = metadata.optional(keys::ADD_SPACE_PREFIX)?.unwrap_or(true);
    let merges = match metadata.optional::<&[String]>(keys::MERGES)? {
        Some(merges) => read_merges(merges, vocabulary)?,
        // Files of llama.cpp's own converter.
        None => {
            let (texts, scores): (&[String], &[f32]) = (
                metadata.required(keys::TOKENS)?,
                metadata.required(keys::SCORES)?,
            );
            keys::check_length(keys::SCORES, texts.len(), scores.len())?;
            merges::of_scores(vocabulary, scores)?
        }
    };
    let unk_token = match SpecialIds::from_metadata(metadata)?.unk {
        Some(id) => Some(text_of(metadata, id, "unknown")?),
        None => None,
    };
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added(vocabulary),
        "normalizer": normalizer::of_characters(space_prefix),
        "pre_tokenizer": null,
        "post_processor": template(metadata, true)?,
        "decoder": normalizer::decoder(space_prefix),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unk_token,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
            "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab(vocabulary), "merges": merges,
        },
    }))
}
