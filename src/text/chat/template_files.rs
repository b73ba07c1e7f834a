use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{ChatTemplate, template::DEFAULT};
use crate::text::{
    TextError, Tokenizer,
    tokenizer::{json_file, optional_text},
};

const CONFIG_FILE: &str = "tokenizer_config.json";
const TEMPLATE_FILE: &str = "chat_template.jinja";
/// Folder of further templates.
const TEMPLATE_FOLDER: &str = "additional_chat_templates";

/// Names and sources.
type Sources = Vec<(String, String)>;

impl ChatTemplate {
    /// Loads the templates of a model's folder, with the special tokens of its tokenizer; `None` if there
    /// are none.
    ///
    /// As in transformers, `chat_template.jinja` is the default template and
    /// `additional_chat_templates/NAME.jinja` are further ones. Without these files, the templates are read
    /// from `chat_template` of `tokenizer_config.json`, as one text or a list of named ones.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or is malformed.
    pub fn from_folder(
        folder: impl AsRef<Path>,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Self>, TextError> {
        let sources = sources(folder.as_ref())?;
        if sources.is_empty() {
            return Ok(None);
        }
        let mut template = Self::empty()?;
        for (name, source) in sources {
            template = template.with_named(&name, &source)?;
        }
        for (name, token) in tokenizer.special_tokens() {
            template = template.with_special_token(name, token);
        }
        Ok(Some(template))
    }

    /// Loads the templates of a folder and selects the named one for every conversation. A folder with one
    /// template returns it for every name.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or is malformed, or there are only templates with other names.
    pub fn named_from_folder(
        folder: impl AsRef<Path>,
        name: &str,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Self>, TextError> {
        let folder = folder.as_ref();
        let Some(template) = Self::from_folder(folder, tokenizer)? else {
            return Ok(None);
        };
        let names: Vec<&str> = template.sources().map(|(name, _)| name).collect();
        if names == [DEFAULT] {
            return Ok(Some(template));
        }
        if !names.contains(&name) {
            let expected = format!("a template called {name:?}");
            return Err(TextError::value(
                folder,
                "chat templates",
                expected,
                format!("{names:?}"),
            ));
        }
        Ok(Some(template.choosing(name)))
    }

    /// Returns the names and texts of the templates in the files that [`from_folder`](Self::from_folder) reads, the
    /// default one first.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or is malformed.
    pub fn sources_of_folder(folder: impl AsRef<Path>) -> Result<Vec<(String, String)>, TextError> {
        sources(folder.as_ref())
    }
}

/// Returns all templates of a folder.
fn sources(folder: &Path) -> Result<Sources, TextError> {
    let mut sources: Sources = Vec::new();
    if let Some(source) = optional_text(&folder.join(TEMPLATE_FILE))? {
        sources.push((DEFAULT.to_string(), source));
    }
    for path in further_files(&folder.join(TEMPLATE_FOLDER))? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if let Some(source) = optional_text(&path)? {
            sources.push((name.into_owned(), source));
        }
    }
    match sources.is_empty() {
        true => configured(&folder.join(CONFIG_FILE)),
        false => Ok(sources),
    }
}

/// Returns the files `*.jinja` of a folder, sorted by name; the folder may be absent.
fn further_files(folder: &Path) -> Result<Vec<PathBuf>, TextError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(TextError::io(folder)(error)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths
        .collect::<Result<_, _>>()
        .map_err(TextError::io(folder))?;
    paths.retain(|path| path.extension() == Some("jinja".as_ref()));
    paths.sort();
    Ok(paths)
}

/// Returns the templates in `tokenizer_config.json`.
fn configured(path: &Path) -> Result<Sources, TextError> {
    let config = json_file(path)?.unwrap_or_default();
    let wrong = |found: &Value| {
        let expected = "a template, or a list of objects with `name` and `template`";
        TextError::value(path, "`chat_template`", expected, found.to_string())
    };
    match config.get("chat_template") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(source)) => Ok(vec![(DEFAULT.to_string(), source.clone())]),
        Some(Value::Array(templates)) => {
            let named = |entry: &Value| match (&entry["name"], &entry["template"]) {
                (Value::String(name), Value::String(source)) => Ok((name.clone(), source.clone())),
                _ => Err(wrong(entry)),
            };
            templates.iter().map(named).collect()
        }
        Some(other) => Err(wrong(other)),
    }
}
