use core::mem;
use std::collections::HashMap;

use super::{FromGgufValue, GgufError, GgufValue};

/// Most bytes of a key, by the format.
const MAX_KEY: usize = 65535;

/// Keys and values of a GGUF file, in the file's order.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), bitnet_burn::interop::gguf::GgufError> {
/// use bitnet_burn::interop::gguf::GgufMetadata;
///
/// let mut metadata = GgufMetadata::new();
/// metadata.insert("general.architecture", "llama")?;
/// metadata.insert("llama.block_count", 30u32)?;
///
/// let blocks: usize = metadata.required("llama.block_count")?;
/// let vocab: Option<usize> = metadata.optional("llama.vocab_size")?;
/// assert_eq!((blocks, vocab), (30, None));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GgufMetadata {
    entries: Vec<(String, GgufValue)>,
    /// Place of each key in the entries.
    places: HashMap<String, usize>,
}

impl GgufMetadata {
    /// No keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key.
    ///
    /// # Errors
    ///
    /// If the key is there already, empty, or longer than 65,535 bytes.
    pub fn insert(
        &mut self,
        key: impl Into<String>,
        value: impl Into<GgufValue>,
    ) -> Result<(), GgufError> {
        let key = key.into();
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(GgufError::Key {
                key,
                reason: "a key has 1 to 65535 bytes",
            });
        }
        if self.places.contains_key(&key) {
            return Err(GgufError::DuplicateKey { key });
        }
        self.places.insert(key.clone(), self.entries.len());
        self.entries.push((key, value.into()));
        Ok(())
    }

    /// Gives a key another value, and returns the one that it had; adds the key if it is new.
    ///
    /// # Errors
    ///
    /// If the key is empty or longer than 65,535 bytes.
    pub fn replace(
        &mut self,
        key: impl Into<String>,
        value: impl Into<GgufValue>,
    ) -> Result<Option<GgufValue>, GgufError> {
        let key = key.into();
        match self.places.get(&key) {
            Some(&place) => {
                let old = mem::replace(&mut self.entries[place].1, value.into());
                Ok(Some(old))
            }
            None => self.insert(key, value).map(|()| None),
        }
    }

    /// Adds all keys of other metadata, behind those that are here.
    ///
    /// # Errors
    ///
    /// If a key is in both.
    pub fn extend(&mut self, other: Self) -> Result<(), GgufError> {
        let mut entries = other.entries.into_iter();
        entries.try_for_each(|(key, value)| self.insert(key, value))
    }

    /// The value of a key, if it is there.
    pub fn get(&self, key: &str) -> Option<&GgufValue> {
        self.places.get(key).map(|&place| &self.entries[place].1)
    }

    /// The value of a key.
    ///
    /// Integers are given as any type of integers that holds them: programs differ in the types
    /// that they write.
    ///
    /// # Errors
    ///
    /// If there is no such key, or its value has another type.
    pub fn required<'a, T: FromGgufValue<'a>>(&'a self, key: &str) -> Result<T, GgufError> {
        let value = self.optional(key)?;
        value.ok_or_else(|| GgufError::missing_key(key))
    }

    /// The value of a key, or `None` if there is no such key.
    ///
    /// # Errors
    ///
    /// If the value has another type.
    pub fn optional<'a, T: FromGgufValue<'a>>(&'a self, key: &str) -> Result<Option<T>, GgufError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match T::from_value(value) {
            Some(value) => Ok(Some(value)),
            None => Err(GgufError::KeyType {
                key: key.to_string(),
                expected: T::EXPECTED,
                found: super::typed_value::described(value),
            }),
        }
    }

    /// Keys and values in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &GgufValue)> {
        self.entries
            .iter()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
