use std::collections::HashSet;

use serde_json::Value;

use super::{
    SpecialIds, TokenType, TokenizerError, TokenizerOptions,
    json::{flag, optional, shown},
    keys, merges, normalizer,
    post_processor::Around,
    pre_tokenizer,
    source::Source,
    templates,
};
use crate::interop::gguf::{GgufError, GgufMetadata};

/// The metadata that make llama.cpp tokenize as `tokenizer.json` does.
///
/// `config` is `tokenizer_config.json`, which names special tokens and may hold a chat template.
///
/// # Errors
///
/// If the tokenizer is no byte-pair encoding, has a part that llama.cpp does not have, has more
/// tokens than the model, or is malformed.
pub fn to_metadata(
    json: &Value,
    config: Option<&Value>,
    options: &TokenizerOptions,
) -> Result<GgufMetadata, TokenizerError> {
    let mut source = Source::parse(json, options.vocab_size)?;
    merges::check(&source.merges, &source.vocabulary)?;

    let mut metadata = GgufMetadata::new();
    if pre_tokenizer::is_byte_level(optional(json, "pre_tokenizer"))? {
        bytes(json, &source, options, &mut metadata)?;
    } else if source.byte_fallback {
        characters(json, &mut source, options, &mut metadata)?;
    } else {
        let found = shown(optional(json, "pre_tokenizer"));
        let expected = "one of bytes (ByteLevel), or of characters with byte_fallback";
        return Err(TokenizerError::unsupported("tokenizer", found, expected));
    }
    types_and_merges(&source, &mut metadata)?;
    special_tokens(json, config, &source, options, &mut metadata)?;
    templates::write(config, &mut metadata)?;
    if options.embed_json {
        metadata.insert(keys::HUGGING_FACE, json.to_string())?;
    }
    Ok(metadata)
}

fn types_and_merges(source: &Source<'_>, metadata: &mut GgufMetadata) -> Result<(), GgufError> {
    let types = source.vocabulary.iter();
    let types = types.map(|token| token.map_or(TokenType::Unused, |(_, token_type)| token_type));
    metadata.insert(
        keys::TOKEN_TYPES,
        types.map(TokenType::id).collect::<Vec<i32>>(),
    )?;
    // llama.cpp refuses a file without the key, so that it is there even if there are no merges. For
    // characters it reads none; there they bring the tokenizer back as it was.
    let merges = source.merges.iter();
    let merges: Vec<String> = merges
        .map(|(left, right)| format!("{left} {right}"))
        .collect();
    metadata.insert(keys::MERGES, merges)
}

/// The keys of a tokenizer of bytes.
fn bytes(
    json: &Value,
    source: &Source<'_>,
    options: &TokenizerOptions,
    metadata: &mut GgufMetadata,
) -> Result<(), TokenizerError> {
    normalizer::check_bytes(optional(json, "normalizer"))?;
    let pre_tokenizer = optional(json, "pre_tokenizer");
    let pre = match &options.pre {
        Some(pre) => pre,
        None => pre_tokenizer::recognize(pre_tokenizer, source.ignore_merges)?,
    };
    metadata.insert(keys::MODEL, keys::BYTES)?;
    metadata.insert(keys::PRE, pre)?;
    metadata.insert(keys::TOKENS, source.vocabulary.texts()?)?;
    Ok(())
}

/// The keys of a tokenizer of characters.
fn characters(
    json: &Value,
    source: &mut Source<'_>,
    options: &TokenizerOptions,
    metadata: &mut GgufMetadata,
) -> Result<(), TokenizerError> {
    let normalizer = optional(json, "normalizer");
    let space_prefix = normalizer::space_prefix(normalizer, optional(json, "pre_tokenizer"))?;
    source.vocabulary.mark_bytes(source.unk_token)?;
    if source.ignore_merges {
        let expected = "false, as the tokens are of characters";
        return Err(TokenizerError::unsupported(
            "ignore_merges",
            "true",
            expected,
        ));
    }
    if !options.inexact_merges {
        merges::check_scores(&source.vocabulary, &source.merges)?;
    }
    let texts = texts_of_characters(source)?;
    metadata.insert(keys::MODEL, keys::CHARACTERS)?;
    metadata.insert(keys::PRE, options.pre.as_deref().unwrap_or("default"))?;
    metadata.insert(keys::TOKENS, texts)?;
    let scores = merges::scores(&source.vocabulary, &source.merges);
    metadata.insert(keys::SCORES, scores)?;
    metadata.insert(keys::ADD_SPACE_PREFIX, space_prefix)?;
    Ok(())
}

/// Texts of all ids as llama.cpp looks for them.
fn texts_of_characters(source: &Source<'_>) -> Result<Vec<String>, TokenizerError> {
    let mut texts = source.vocabulary.texts()?;
    let all: HashSet<String> = texts.iter().cloned().collect();
    let tokens = texts.iter_mut().zip(source.vocabulary.iter());
    for (id, (text, token)) in tokens.enumerate() {
        // llama.cpp looks for these in the text before it replaces the spaces.
        if matches!(token, Some((_, TokenType::UserDefined))) && text.contains(keys::SPACE) {
            let spaces = text.replace(keys::SPACE, " ");
            if all.contains(&spaces) {
                let other = format!("{spaces:?}");
                return Err(TokenizerError::conflict(text, id as u64, other));
            }
            *text = spaces;
        }
    }
    Ok(texts)
}

/// Ids of special tokens, and which of them are added to a text.
fn special_tokens(
    json: &Value,
    config: Option<&Value>,
    source: &Source<'_>,
    options: &TokenizerOptions,
    metadata: &mut GgufMetadata,
) -> Result<(), TokenizerError> {
    let vocabulary = &source.vocabulary;
    let around = Around::parse(optional(json, "post_processor"))?;
    let id_of = |token: Option<&str>, purpose| match token {
        Some(text) => vocabulary.id_of(text, purpose).map(Some),
        None => Ok(None),
    };
    let first = id_of(around.first, "first")?;
    let last = id_of(around.last, "last")?;
    let mut ids: SpecialIds = options.special_ids.or_of_config(config, vocabulary)?;
    ids.bos = ids.bos.or(first);
    ids.eos = ids.eos.or(last);
    ids.unk = ids.unk.or(id_of(source.unk_token, "unknown")?);
    ids.write(metadata)?;
    // llama.cpp has tokens of its own where a file does not tell: this says that it is no such file.
    let ends: Vec<u32> = [ids.eos, ids.eot, ids.eom].into_iter().flatten().collect();
    metadata.insert(keys::OWN_ENDS, ends)?;

    added_tokens(config, [first, last], &ids, metadata)
}

/// Which tokens are added to a text: `of_template` are those of the tokenizer.
///
/// Both keys are always there: which tokens llama.cpp adds without them depends on the name of the
/// pre-tokenizer.
fn added_tokens(
    config: Option<&Value>,
    of_template: [Option<u32>; 2],
    ids: &SpecialIds,
    metadata: &mut GgufMetadata,
) -> Result<(), TokenizerError> {
    let none = Value::Null;
    let flags = config.unwrap_or(&none);
    let sides = [
        (keys::ADD_BOS, "add_bos_token", ids.bos),
        (keys::ADD_EOS, "add_eos_token", ids.eos),
    ];
    for ((key, field, id), of_template) in sides.into_iter().zip(of_template) {
        // The template, unless the configuration tells otherwise, as in llama.cpp's converter.
        let add = flag(flags, field, of_template.is_some())?;
        if add && (id.is_none() || of_template.is_some_and(|token| Some(token) != id)) {
            let found = format!("with token {id:?} and template {of_template:?}");
            let expected = "a token that is known, and the same in the template";
            return Err(TokenizerError::unsupported(field, found, expected));
        }
        metadata.insert(key, add)?;
    }
    Ok(())
}
