//! Keys known to a reader, and the rule for each.

use core::fmt;

use serde_json::Value;

/// Rule of a reader for a key of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum KeyRule {
    /// Read, and applied wherever the value has an effect.
    Honored,
    /// Known, without effect on the model's output.
    Harmless,
    /// Changes the model's output and is not implemented: rejected unless it has one of these values.
    OffAt(&'static [Off]),
}

/// A value at which a key has no effect.
#[cfg_attr(
    not(feature = "interop"),
    allow(dead_code, reason = "some are in the files of models alone")
)]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Off {
    /// `null`, an empty list, an empty string or an empty object.
    Empty,
    /// `false`.
    False,
    /// `true`.
    True,
    /// This number.
    Number(f64),
    /// This string.
    Text(&'static str),
}

impl Off {
    fn is(self, value: &Value) -> bool {
        match self {
            Self::Empty => match value {
                Value::Null => true,
                Value::Array(values) => values.is_empty(),
                Value::Object(fields) => fields.is_empty(),
                Value::String(text) => text.is_empty(),
                _ => false,
            },
            Self::False => value == &Value::Bool(false),
            Self::True => value == &Value::Bool(true),
            Self::Number(number) => value.as_f64() == Some(number),
            Self::Text(text) => value.as_str() == Some(text),
        }
    }
}

impl fmt::Display for Off {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("null or empty"),
            Self::False => f.write_str("false"),
            Self::True => f.write_str("true"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// The keys of one kind of file by their rules.
pub(crate) struct KeyTable(pub &'static [(KeyRule, &'static [&'static str])]);

/// A key that changes the computation, with its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RefusedKey {
    /// The key.
    pub key: String,
    /// Its value.
    pub found: String,
    /// The values that turn it off.
    pub supported: String,
}

/// A key of a model's file that is unknown to this crate and had no effect on what was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKey {
    /// Name of the file, such as `config.json`.
    pub file: String,
    /// The key.
    pub key: String,
    /// The start of its value.
    pub value: String,
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} = {}", self.file, self.key, self.value)
    }
}

impl KeyTable {
    /// Checks the keys of a file and returns those that are not in the table.
    ///
    /// # Errors
    ///
    /// The first key that changes the computation and is not off.
    pub fn check<'a>(
        &self,
        file: &str,
        keys: impl IntoIterator<Item = (&'a str, &'a Value)>,
    ) -> Result<Vec<UnknownKey>, RefusedKey> {
        let mut unknown = Vec::new();
        for (key, value) in keys {
            match self.rule(key) {
                Some(KeyRule::Honored | KeyRule::Harmless) => {}
                Some(KeyRule::OffAt(off)) if off.iter().any(|off| off.is(value)) => {}
                Some(KeyRule::OffAt(off)) => {
                    let supported: Vec<String> = off.iter().map(Off::to_string).collect();
                    return Err(RefusedKey {
                        key: key.to_string(),
                        found: shown(value),
                        supported: supported.join(" or "),
                    });
                }
                None => unknown.push(UnknownKey {
                    file: file.to_string(),
                    key: key.to_string(),
                    value: shown(value),
                }),
            }
        }
        Ok(unknown)
    }

    fn rule(&self, key: &str) -> Option<KeyRule> {
        let found = self.0.iter().find(|(_, keys)| keys.contains(&key));
        found.map(|(rule, _)| *rule)
    }
}

/// Returns the start of a value that may be very long.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[rustfmt::skip]
    const TABLE: KeyTable = KeyTable(&[
        (KeyRule::Honored, &["hidden_size"]),
        (KeyRule::Harmless, &["use_cache"]),
        (KeyRule::OffAt(&[Off::Empty, Off::Number(1.0)]), &["logit_scale"]),
        (KeyRule::OffAt(&[Off::False]), &["use_sliding_window"]),
    ]);

    fn check(json: Value) -> Result<Vec<UnknownKey>, RefusedKey> {
        let fields = json.as_object().unwrap();
        TABLE.check("config.json", fields.iter().map(|(k, v)| (k.as_str(), v)))
    }

    #[test]
    fn a_key_that_is_off_passes_and_one_that_is_on_is_refused() {
        let off = json!({"hidden_size": 3, "use_cache": true, "logit_scale": 1, "use_sliding_window": false});
        assert_eq!(check(off).unwrap(), []);
        assert_eq!(check(json!({"logit_scale": null})).unwrap(), []);
        let refused = check(json!({"logit_scale": 0.25})).unwrap_err();
        assert_eq!(refused.key, "logit_scale");
        assert_eq!(refused.found, "0.25");
        assert_eq!(refused.supported, "null or empty or 1");
        assert!(check(json!({"use_sliding_window": null})).is_err());
    }

    #[test]
    fn a_key_that_nobody_knows_is_listed() {
        let unknown = check(json!({"emb_sclae": "x".repeat(100)})).unwrap();
        let text = unknown[0].to_string();
        assert_eq!(
            text,
            format!("config.json: emb_sclae = {}...", "x".repeat(60))
        );
    }
}
