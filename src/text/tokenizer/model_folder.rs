//! Settings of a tokenizer in the files beside `tokenizer.json`.

use std::{fs, path::Path};

use serde_json::{Map, Value};

use crate::text::TextError;

/// Reads a JSON object from a file; `None` if there is no such file.
pub(crate) fn json_file(path: &Path) -> Result<Option<Map<String, Value>>, TextError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(TextError::io(path)(error)),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn special_tokens_are_strings_or_objects() {
        let config = json!({"eos_token": "</s>", "bos_token": {"content": "<s>"}, "unk_token": 3});
        let config = config.as_object().unwrap();
        let token = |name| special_token(config, name, Path::new("c.json"));
        assert_eq!(token("eos_token").unwrap().as_deref(), Some("</s>"));
        assert_eq!(token("bos_token").unwrap().as_deref(), Some("<s>"));
        assert_eq!(token("pad_token").unwrap(), None);
        let error = token("unk_token").unwrap_err().to_string();
        assert!(
            error.starts_with("c.json, `unk_token`: expected"),
            "{error}"
        );
    }

    #[test]
    fn templates_must_have_their_tokens() {
        let template = |single, tokens| {
            let template = json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": tokens});
            check_post_processor(&json!({"type": "Sequence", "processors": [template]}))
        };
        let token = json!([{"SpecialToken": {"id": "<s>", "type_id": 0}}]);
        assert!(template(token.clone(), json!({"<s>": {}})).is_ok());
        assert!(
            template(token, json!({}))
                .unwrap_err()
                .contains("nothing for")
        );
        assert!(template(json!([{"Sequence": {"id": "B", "type_id": 0}}]), json!({})).is_err());
        assert!(check_post_processor(&Value::Null).is_ok());
        // The library recognizes a template by its fields, regardless of its type.
        let untyped = json!({"single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}], "special_tokens": {}});
        assert!(check_post_processor(&untyped).is_err());
    }

    #[test]
    fn merges_must_make_tokens() {
        let vocab = json!({"a": 0, "b": 1, "ab": 2});
        let check = |merges| check_merges(&json!({"model": {"vocab": vocab, "merges": merges}}));
        assert!(check(json!(["a b"])).is_ok());
        assert!(check(json!([["a", "b"]])).is_ok());
        assert!(
            check(json!([["b", "a"]]))
                .unwrap_err()
                .contains("makes no token")
        );
    }
}
