//! Configurations as text.

use core::fmt::Display;
use std::{fs, io::Write, path::Path};

use serde::Deserializer;

use super::{TrainingConfig, TrainingConfigError};
use crate::base::{atomic_file, file_error::FileError};

enum Format {
    Toml,
    Json,
}

impl Format {
    fn of(path: &Path) -> Result<Self, TrainingConfigError> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Ok(Self::Toml),
            Some("json") => Ok(Self::Json),
            _ => Err(TrainingConfigError::UnknownFormat {
                path: path.to_path_buf(),
            }),
        }
    }
}

/// Returns the error of a text that is not in its format.
fn syntax_error(error: impl Display) -> TrainingConfigError {
    TrainingConfigError::Parse {
        field: String::new(),
        message: error.to_string(),
    }
}

impl TrainingConfig {
    /// Parses a configuration in TOML and validates it.
    ///
    /// # Errors
    ///
    /// If it is not a valid configuration, or a value is out of range.
    pub fn from_toml(text: &str) -> Result<Self, TrainingConfigError> {
        Self::parse(toml::Deserializer::parse(text).map_err(syntax_error)?)
    }

    /// Parses a configuration in JSON and validates it.
    ///
    /// # Errors
    ///
    /// If it is not a valid configuration, or a value is out of range.
    pub fn from_json(text: &str) -> Result<Self, TrainingConfigError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let config = Self::parse(&mut deserializer)?;
        deserializer.end().map_err(syntax_error)?;
        Ok(config)
    }

    fn parse<'de, D>(deserializer: D) -> Result<Self, TrainingConfigError>
    where
        D: Deserializer<'de, Error: Display>,
    {
        let parsed = serde_path_to_error::deserialize(deserializer);
        let config: Self = parsed.map_err(|error| TrainingConfigError::Parse {
            field: error.path().to_string(),
            message: error.inner().to_string(),
        })?;
        config.validate()?;
        Ok(config)
    }

    /// Returns the configuration in TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("a configuration has a form in TOML")
    }

    /// Returns the configuration in JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a configuration has a form in JSON")
    }

    /// Reads a `.toml` or `.json` file and validates it.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is not a valid configuration, or a value is out of range.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, TrainingConfigError> {
        let path = path.as_ref();
        let format = Format::of(path)?;
        let text = fs::read_to_string(path).map_err(FileError::at(path))?;
        match format {
            Format::Toml => Self::from_toml(&text),
            Format::Json => Self::from_json(&text),
        }
    }

    /// Writes a `.toml` or `.json` file. An existing file is replaced only when the new one is
    /// complete.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), TrainingConfigError> {
        let path = path.as_ref();
        let text = match Format::of(path)? {
            Format::Toml => self.to_toml(),
            Format::Json => self.to_json(),
        };
        let written = atomic_file::write(path, |file| file.write_all(text.as_bytes()));
        Ok(written.map_err(FileError::at(path))?)
    }
}
