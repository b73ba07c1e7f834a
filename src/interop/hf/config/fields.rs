//! Typed fields of a JSON object.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::interop::hf::HfError;

/// The fields of an object of a file.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub path: &'a Path,
    /// Where the object is in the file, such as `rope_parameters.`.
    pub prefix: &'static str,
    pub json: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The value as it is written; `None` if it is missing.
    pub fn raw(&self, key: &str) -> Option<&'a Value> {
        self.json.get(key)
    }

    /// Whether the field is there, be it null.
    pub fn has(&self, key: &str) -> bool {
        self.json.contains_key(key)
    }

    /// The value; `None` if it is missing or null.
    pub fn optional<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, HfError> {
        match self.raw(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value)
                .map(Some)
                .map_err(|error| self.wrong(format!("{}{key}: {error}", self.prefix))),
        }
    }

    pub fn required<T: DeserializeOwned>(&self, key: &str) -> Result<T, HfError> {
        let value = self.optional(key)?;
        value.ok_or_else(|| self.wrong(format!("missing field {}{key}", self.prefix)))
    }

    /// The value, `missing` if there is no such field, and `null` if it is null, which for some fields
    /// are two numbers.
    pub fn or<T: DeserializeOwned>(&self, key: &str, missing: T, null: T) -> Result<T, HfError> {
        let value = self.optional(key)?;
        Ok(value.unwrap_or(if self.has(key) { null } else { missing }))
    }

    /// A finite number.
    pub fn finite(&self, key: &str) -> Result<Option<f64>, HfError> {
        let value = self.optional(key)?;
        self.check(key, value, f64::is_finite)
    }

    /// A finite number above 0.
    pub fn positive(&self, key: &str) -> Result<Option<f64>, HfError> {
        let value = self.optional(key)?;
        self.check(key, value, is_positive)
    }

    /// Checks a number that a key says, or that follows from it.
    pub fn check(
        &self,
        key: &str,
        value: Option<f64>,
        is_right: impl Fn(f64) -> bool,
    ) -> Result<Option<f64>, HfError> {
        match value {
            Some(value) if !is_right(value) => {
                Err(self.wrong(format!("{}{key} is {value}", self.prefix)))
            }
            value => Ok(value),
        }
    }

    pub fn wrong(&self, reason: impl Into<String>) -> HfError {
        HfError::file(self.path, reason.into())
    }

    pub fn unsupported(&self, key: &str, found: impl ToString, supported: &str) -> HfError {
        let field = format!("{}{key}", self.prefix);
        HfError::unsupported(self.path, &field, found.to_string(), supported)
    }
}

/// Returns true for a finite number above 0.
pub(super) fn is_positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}
