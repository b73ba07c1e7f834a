use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{CONFIG_FILE, PeftFileError};
use crate::{
    base::key_table::{KeyTable, UnknownKey},
    interop::json_text::located,
    peft::PeftError,
};

/// Keys of each method that say where an adapter comes from.
pub(super) const ORIGIN: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "peft_version",
    "revision",
    "task_type",
];

/// Fields that have another name here, and that of files.
const NAMES: [(&str, &str); 4] = [
    ("rank", "r"),
    ("alpha", "lora_alpha"),
    ("dropout", "lora_dropout"),
    ("delta_t", "deltaT"),
];

/// Returns the error of a configuration of a file, with the names of fields there.
pub(super) fn invalid(path: &Path, mut source: PeftError) -> PeftFileError {
    if let PeftError::OutOfBounds(bounds) = &mut source
        && let Some((_, name)) = NAMES.iter().find(|(here, _)| *here == bounds.name)
    {
        bounds.name = name.to_string();
    }
    PeftFileError::Config {
        path: path.to_path_buf(),
        source,
    }
}

/// Fields of a configuration.
pub(super) struct Fields<'a> {
    path: &'a Path,
    fields: Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// Reads the fields of a file.
    ///
    /// # Errors
    ///
    /// If it is not a JSON object.
    pub(super) fn read(path: &'a Path, text: &[u8]) -> Result<Self, PeftFileError> {
        let fields = serde_json::from_slice(text);
        let fields = fields.map_err(|error| PeftFileError::file(path, located(&error, text)))?;
        Ok(Self { path, fields })
    }

    /// Returns the keys that a table does not have.
    ///
    /// # Errors
    ///
    /// The first key that changes the result and is not supported.
    pub(super) fn check(&self, keys: &KeyTable) -> Result<Vec<UnknownKey>, PeftFileError> {
        let fields = self.fields.iter();
        let fields = fields.map(|(key, value)| (key.as_str(), value));
        keys.check(CONFIG_FILE, fields)
            .map_err(|refused| self.unsupported(&refused.key, refused.found, refused.supported))
    }

    /// Returns a value as it is.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.fields.get(key)
    }

    /// Returns the error of a configuration that is read, but not valid.
    pub(super) fn invalid(&self, source: PeftError) -> PeftFileError {
        invalid(self.path, source)
    }

    pub(super) fn unsupported(
        &self,
        field: &str,
        found: impl ToString,
        supported: impl ToString,
    ) -> PeftFileError {
        PeftFileError::Unsupported {
            path: self.path.to_path_buf(),
            field: field.to_string(),
            found: found.to_string(),
            supported: supported.to_string(),
        }
    }

    /// Returns a value, or `default` where it is absent or null.
    pub(super) fn or<T: DeserializeOwned>(
        &self,
        key: &str,
        default: T,
    ) -> Result<T, PeftFileError> {
        match self.fields.get(key).filter(|value| !value.is_null()) {
            None => Ok(default),
            Some(value) => T::deserialize(value)
                .map_err(|error| PeftFileError::file(self.path, format!("{key}: {error}"))),
        }
    }

    pub(super) fn required<T: DeserializeOwned>(&self, key: &str) -> Result<T, PeftFileError> {
        let value = self.or(key, None)?;
        value.ok_or_else(|| PeftFileError::file(self.path, format!("{key} is missing")))
    }

    /// Returns a list, which may also be its only value.
    pub(super) fn list<T: DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<Vec<T>>, PeftFileError> {
        match self.fields.get(key) {
            Some(Value::Array(_)) | None => self.or(key, None),
            Some(_) => Ok(self.or::<Option<T>>(key, None)?.map(|value| vec![value])),
        }
    }
}
