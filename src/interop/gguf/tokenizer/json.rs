use serde_json::{Map, Value};

use super::TokenizerError;

/// Most characters of a value that an error shows.
const SHOWN: usize = 300;

/// A value for an error; `nothing` if there is none.
pub fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else {
        return "nothing".to_string();
    };
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn wrong(path: &str, expected: &'static str, found: Option<&Value>) -> TokenizerError {
    TokenizerError::Field {
        path: path.to_string(),
        expected,
        found: shown(found),
    }
}

/// A field that may be missing or null.
pub fn optional<'a>(value: &'a Value, field: &str) -> Option<&'a Value> {
    value.get(field).filter(|value| !value.is_null())
}

fn typed<'a, T>(
    value: Option<&'a Value>,
    path: &str,
    expected: &'static str,
    read: fn(&'a Value) -> Option<T>,
) -> Result<T, TokenizerError> {
    let found = value.and_then(read);
    found.ok_or_else(|| wrong(path, expected, value))
}

pub fn object<'a>(
    value: Option<&'a Value>,
    path: &str,
) -> Result<&'a Map<String, Value>, TokenizerError> {
    typed(value, path, "an object", Value::as_object)
}

pub fn array<'a>(value: Option<&'a Value>, path: &str) -> Result<&'a Vec<Value>, TokenizerError> {
    typed(value, path, "an array", Value::as_array)
}

pub fn string<'a>(value: Option<&'a Value>, path: &str) -> Result<&'a str, TokenizerError> {
    typed(value, path, "a string", Value::as_str)
}

pub fn id(value: Option<&Value>, path: &str) -> Result<u64, TokenizerError> {
    typed(value, path, "an id", Value::as_u64)
}

/// A truth value, or `default` if it is missing or null.
pub fn flag(value: &Value, field: &str, default: bool) -> Result<bool, TokenizerError> {
    match optional(value, field) {
        None => Ok(default),
        found => typed(found, field, "true or false", Value::as_bool),
    }
}

/// The `type` of a part of a tokenizer.
pub fn type_of(value: &Value) -> &str {
    value.get("type").and_then(Value::as_str).unwrap_or("")
}

/// A part and the parts in it, if it is a sequence, down to any depth.
pub fn parts<'a>(part: Option<&'a Value>, list: &str) -> Result<Vec<&'a Value>, TokenizerError> {
    let mut flat = Vec::new();
    // A list of what is to be done instead of recursion: a value may be nested deeply.
    let mut open: Vec<&Value> = part.into_iter().collect();
    while let Some(part) = open.pop() {
        if type_of(part) == "Sequence" {
            open.extend(array(part.get(list), list)?.iter().rev());
        } else {
            flat.push(part);
        }
    }
    Ok(flat)
}
