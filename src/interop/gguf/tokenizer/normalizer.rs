use serde_json::{Value, json};

use super::{
    TokenizerError,
    json::{flag, parts, shown, type_of},
    keys::SPACE,
};

fn unsupported(part: &'static str, found: &Value, expected: &'static str) -> TokenizerError {
    TokenizerError::unsupported(part, shown(Some(found)), expected)
}

/// Checks the normalizer of a tokenizer of bytes.
///
/// llama.cpp has none. Unicode's composition (NFC) is let through, as its converter does: Qwen's
/// tokenizers have it, and most text is composed.
pub fn check_bytes(normalizer: Option<&Value>) -> Result<(), TokenizerError> {
    for part in parts(normalizer, "normalizers")? {
        if type_of(part) != "NFC" {
            return Err(unsupported("normalizer", part, "none, or NFC"));
        }
    }
    Ok(())
}

/// What a part of a tokenizer of characters does with spaces.
#[derive(Default)]
struct Spaces {
    /// Puts one before a text.
    prefix: bool,
    /// Puts the character of [`SPACE`] in their place.
    replaced: bool,
}

impl Spaces {
    fn of_normalizer(normalizer: Option<&Value>) -> Result<Self, TokenizerError> {
        let mut spaces = Self::default();
        for part in parts(normalizer, "normalizers")? {
            let is = |field: &str, text: &str| part.get(field).is_some_and(|found| found == text);
            let space = json!({"String": " "});
            match type_of(part) {
                "Prepend" if is("prepend", SPACE) => spaces.prefix = true,
                "Replace" if is("content", SPACE) && part.get("pattern") == Some(&space) => {
                    spaces.replaced = true;
                }
                _ => {
                    let expected = "none but those that put U+2581 in the place of spaces";
                    return Err(unsupported("normalizer", part, expected));
                }
            }
        }
        Ok(spaces)
    }

    fn of_pre_tokenizer(pre_tokenizer: Option<&Value>) -> Result<Self, TokenizerError> {
        let mut spaces = Self::default();
        for part in parts(pre_tokenizer, "pretokenizers")? {
            let replacement = part.get("replacement").and_then(Value::as_str);
            if type_of(part) != "Metaspace" || replacement.unwrap_or(SPACE) != SPACE {
                return Err(unsupported("pre-tokenizer", part, "none, or Metaspace"));
            }
            spaces.replaced = true;
            spaces.prefix |= match part.get("prepend_scheme").and_then(Value::as_str) {
                Some(scheme) => scheme != "never",
                // Before there were schemes.
                None => flag(part, "add_prefix_space", true)?,
            };
        }
        Ok(spaces)
    }
}

/// Whether a tokenizer of characters puts a space before a text, `add_space_prefix`.
///
/// Spaces become the character of [`SPACE`] in llama.cpp, and must in the tokenizer, be it by its
/// normalizer or its pre-tokenizer.
pub fn space_prefix(
    normalizer: Option<&Value>,
    pre_tokenizer: Option<&Value>,
) -> Result<bool, TokenizerError> {
    let of_normalizer = Spaces::of_normalizer(normalizer)?;
    let of_pre_tokenizer = Spaces::of_pre_tokenizer(pre_tokenizer)?;
    if of_normalizer.replaced || of_pre_tokenizer.replaced {
        return Ok(of_normalizer.prefix || of_pre_tokenizer.prefix);
    }
    let found = normalizer.unwrap_or(&Value::Null);
    let expected = "one that puts U+2581 in the place of spaces";
    Err(unsupported("normalizer", found, expected))
}

/// The normalizer of a tokenizer of characters.
pub fn of_characters(space_prefix: bool) -> Value {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    if space_prefix {
        let prepend = json!({"type": "Prepend", "prepend": SPACE});
        json!({"type": "Sequence", "normalizers": [prepend, replace]})
    } else {
        replace
    }
}

/// What makes text of tokens of characters: the normalizer backwards.
pub fn decoder(space_prefix: bool) -> Value {
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if space_prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": decoders})
}
