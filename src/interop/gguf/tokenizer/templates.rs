//! Chat templates: the default one and those with names.

use serde_json::{Value, json};

use super::{TokenizerError, json::string, keys};
use crate::interop::gguf::{GgufError, GgufMetadata};

/// Name of the default template among others.
const DEFAULT: &str = "default";

/// Writes the templates of `chat_template` in `tokenizer_config.json`, which is a template or a list of
/// named ones.
///
/// Names have letters, digits and `_` in the metadata, as the Python package `gguf` writes them.
pub(super) fn write(
    config: Option<&Value>,
    metadata: &mut GgufMetadata,
) -> Result<(), TokenizerError> {
    let template = config.and_then(|config| config.get("chat_template"));
    let templates = match template {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(templates)) => templates,
        template => {
            metadata.insert(keys::CHAT_TEMPLATE, string(template, "chat_template")?)?;
            return Ok(());
        }
    };
    let mut names = Vec::new();
    for template in templates {
        let name = string(template.get("name"), "chat_template.name")?;
        let text = string(template.get("template"), "chat_template.template")?;
        if name == DEFAULT {
            metadata.insert(keys::CHAT_TEMPLATE, text)?;
            continue;
        }
        let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let name: String = name.chars().map(allowed).collect();
        metadata.insert(format!("{}{name}", keys::NAMED_TEMPLATE), text)?;
        names.push(name);
    }
    if !names.is_empty() {
        metadata.insert(keys::CHAT_TEMPLATES, names)?;
    }
    Ok(())
}

/// The templates of a file as `chat_template` in `tokenizer_config.json`; `None` if there are none.
pub(super) fn read(metadata: &GgufMetadata) -> Result<Option<Value>, GgufError> {
    let default: Option<&str> = metadata.optional(keys::CHAT_TEMPLATE)?;
    let mut named = Vec::new();
    for (key, _) in metadata.iter() {
        if let Some(name) = key.strip_prefix(keys::NAMED_TEMPLATE) {
            let template: &str = metadata.required(key)?;
            named.push(json!({"name": name, "template": template}));
        }
    }
    if named.is_empty() {
        return Ok(default.map(Value::from));
    }
    if let Some(template) = default {
        named.insert(0, json!({"name": DEFAULT, "template": template}));
    }
    Ok(Some(named.into()))
}
