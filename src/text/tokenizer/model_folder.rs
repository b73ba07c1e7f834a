//! Settings of a tokenizer in the files beside `tokenizer.json`.

use std::{fs, io, path::Path};

use serde_json::{Map, Value};

use crate::text::TextError;

/// Reads the text of a file; `None` if there is no such file.
pub(crate) fn optional_text(path: &Path) -> Result<Option<String>, TextError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TextError::io(path)(error)),
    }
}

/// Reads a JSON object from a file; `None` if there is no such file.
pub(crate) fn json_file(path: &Path) -> Result<Option<Map<String, Value>>, TextError> {
    let Some(text) = optional_text(path)? else {
        return Ok(None);
    };
    let found = match serde_json::from_str(&text) {
        Ok(Value::Object(object)) => return Ok(Some(object)),
        Ok(_) => "another value".to_string(),
        Err(error) => error.to_string(),
    };
    Err(TextError::value(path, "file", "a JSON object", found))
}

/// Returns the text of a special token in `tokenizer_config.json`, which is a string or an object with
/// one.
pub(super) fn special_token(
    config: &Map<String, Value>,
    name: &str,
    path: &Path,
) -> Result<Option<String>, TextError> {
    let content = match config.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(token)) => token.get("content"),
        Some(value) => Some(value),
    };
    match content {
        Some(Value::String(token)) => Ok(Some(token.clone())),
        other => Err(TextError::value(
            path,
            format!("`{name}`"),
            "a token, or an object with its `content`",
            format!("{other:?}"),
        )),
    }
}

/// Returns the tokens of `eos_token_id` or `bos_token_id` in `config.json` and
/// `generation_config.json`, which are one number or a list.
pub(super) fn token_ids(folder: &Path, name: &str) -> Result<Vec<u32>, TextError> {
    let mut ids = Vec::new();
    for file in ["generation_config.json", "config.json"] {
        let path = folder.join(file);
        let config = json_file(&path)?.unwrap_or_default();
        let values = match config.get(name) {
            None | Some(Value::Null) => &[],
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
        };
        for value in values {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            ids.push(id.ok_or_else(|| {
                let place = format!("`{name}`");
                TextError::value(&path, place, "a token or a list of them", value.to_string())
            })?);
        }
    }
    Ok(ids)
}

/// Rejects merges of a BPE whose product is not a token: Hugging Face's reader panics on some.
pub(super) fn check_merges(tokenizer: &Value) -> Result<(), String> {
    let model = &tokenizer["model"];
    let (Some(vocab), Some(merges)) = (model["vocab"].as_object(), model["merges"].as_array())
    else {
        return Ok(());
    };
    let prefix = model["continuing_subword_prefix"].as_str().unwrap_or("");
    for merge in merges {
        let pair = match merge {
            Value::String(merge) => merge.split_once(' '),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(a), Value::String(b)] => Some((a.as_str(), b.as_str())),
                _ => None,
            },
            _ => None,
        };
        // The reader rejects merges that are not a pair.
        let Some((first, second)) = pair else {
            continue;
        };
        let merged = second
            .strip_prefix(prefix)
            .map(|second| format!("{first}{second}"));
        if !merged.is_some_and(|merged| vocab.contains_key(&merged)) {
            return Err(format!("the merge {merge} makes no token"));
        }
    }
    Ok(())
}

/// Rejects a post-processor whose template has undescribed tokens or a second text: Hugging Face's reader
/// panics when it is applied.
pub(super) fn check_post_processor(processor: &Value) -> Result<(), String> {
    for part in processor["processors"].as_array().into_iter().flatten() {
        check_post_processor(part)?;
    }
    for (template, texts) in [("single", &["A"][..]), ("pair", &["A", "B"])] {
        for piece in processor[template].as_array().into_iter().flatten() {
            let token = piece["SpecialToken"]["id"].as_str();
            let text = piece["Sequence"]["id"].as_str();
            let known = token.is_none_or(|token| processor["special_tokens"].get(token).is_some());
            if !known || !text.is_none_or(|text| texts.contains(&text)) {
                return Err(format!("the post-processor has nothing for {piece}"));
            }
        }
    }
    Ok(())
}
