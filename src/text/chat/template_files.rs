use std::{fs, io, path::Path};

use serde_json::{Map, Value};

use super::ChatTemplate;
use crate::text::{TextError, Tokenizer, tokenizer::json_file};

const CONFIG_FILE: &str = "tokenizer_config.json";
const TEMPLATE_FILE: &str = "chat_template.jinja";
/// Name of the template that is meant if there are several.
const DEFAULT: &str = "default";

impl ChatTemplate {
    /// The template of a model's folder: `chat_template.jinja`, or `chat_template` in
    /// `tokenizer_config.json`, which is a template or a list of named ones; `None` if there is
    /// none. Of several it is the one called `default`.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or is not what it should be.
    pub fn from_folder(
        folder: impl AsRef<Path>,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Self>, TextError> {
        Self::named_from_folder(folder, DEFAULT, tokenizer)
    }

    /// The template with a name, of a folder with several; a folder with one has it under every
    /// name.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or is not what it should be, or there is no template of that name
    /// but others.
    pub fn named_from_folder(
        folder: impl AsRef<Path>,
        name: &str,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Self>, TextError> {
        let folder = folder.as_ref();
        let path = folder.join(TEMPLATE_FILE);
        let source = match fs::read_to_string(&path) {
            Ok(source) => Some(source),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = folder.join(CONFIG_FILE);
                let config = json_file(&path)?.unwrap_or_default();
                named_source(&config, name, &path)?
            }
            Err(error) => return Err(TextError::io(&path)(error)),
        };
        let Some(source) = source else {
            return Ok(None);
        };
        let token = |id: Option<u32>| id.and_then(|id| tokenizer.token(id)).unwrap_or_default();
        let (bos, eos) = (token(tokenizer.bos()), token(tokenizer.eos()));
        Ok(Some(Self::new(&source)?.with_special_tokens(bos, eos)))
    }
}

/// The source of a template in `tokenizer_config.json`.
fn named_source(
    config: &Map<String, Value>,
    name: &str,
    path: &Path,
) -> Result<Option<String>, TextError> {
    let wrong = |expected: String, found: String| {
        Err(TextError::value(path, "`chat_template`", expected, found))
    };
    match config.get("chat_template") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(source)) => Ok(Some(source.clone())),
        Some(Value::Array(templates)) => {
            let named = templates.iter().find(|template| template["name"] == name);
            match named.map(|template| &template["template"]) {
                Some(Value::String(source)) => Ok(Some(source.clone())),
                _ => {
                    let names: Vec<&Value> = templates.iter().map(|t| &t["name"]).collect();
                    wrong(format!("a template called {name:?}"), format!("{names:?}"))
                }
            }
        }
        Some(other) => wrong("a template or a list".to_string(), other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_are_found_in_all_their_places() {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = Tokenizer::characters("ab").unwrap();
        let load = |name| ChatTemplate::named_from_folder(&folder, name, &tokenizer);
        let render = |name| load(name).unwrap().unwrap().render(&[], true).unwrap();
        assert!(load(DEFAULT).unwrap().is_none());

        let config = folder.path().join(CONFIG_FILE);
        let one = json!({"chat_template": "one {{ eos_token }}"});
        fs::write(&config, one.to_string()).unwrap();
        assert_eq!(render(DEFAULT), "one <|endoftext|>");

        let named = json!({"chat_template": [{"name": "tool_use", "template": "two"}]});
        fs::write(&config, named.to_string()).unwrap();
        assert_eq!(render("tool_use"), "two");
        let error = load(DEFAULT).unwrap_err().to_string();
        assert!(
            error.contains("\"default\", found [String(\"tool_use\")]"),
            "{error}"
        );

        fs::write(folder.path().join(TEMPLATE_FILE), "three").unwrap();
        assert_eq!(render(DEFAULT), "three");
    }
}
