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
#[derive(Debug, Clone, Default)]
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
        value.ok_or_else(|| GgufError::MissingKey {
            key: key.to_string(),
        })
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
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl PartialEq for GgufMetadata {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> GgufMetadata {
        let mut metadata = GgufMetadata::new();
        metadata.insert("name", "a").unwrap();
        metadata.insert("count", 70_000u64).unwrap();
        metadata.insert("below", -1i32).unwrap();
        metadata.insert("words", vec!["x".to_string()]).unwrap();
        metadata
    }

    #[test]
    fn values_have_types() {
        let metadata = metadata();
        assert_eq!(metadata.required::<&str>("name").unwrap(), "a");
        assert_eq!(metadata.required::<u32>("count").unwrap(), 70_000);
        assert_eq!(metadata.required::<&[String]>("words").unwrap(), ["x"]);
        assert_eq!(metadata.optional::<f32>("none").unwrap(), None);
        let text = |error: GgufError| error.to_string();
        assert_eq!(
            text(metadata.required::<u32>("name").unwrap_err()),
            "key `name`: expected u32, found string"
        );
        assert_eq!(
            text(metadata.optional::<u32>("below").unwrap_err()),
            "key `below`: expected u32, found i32 -1"
        );
        assert_eq!(
            text(metadata.required::<&[f32]>("words").unwrap_err()),
            "key `words`: expected array of f32, found array of string"
        );
        assert_eq!(
            text(metadata.required::<bool>("none").unwrap_err()),
            "there is no key `none`"
        );
    }

    #[test]
    fn keys_occur_once() {
        let mut metadata = metadata();
        let error = metadata.insert("name", 1u8).unwrap_err();
        assert!(matches!(error, GgufError::DuplicateKey { key } if key == "name"));
        assert_eq!(metadata.replace("name", 1u8).unwrap(), Some("a".into()));
        assert_eq!(metadata.replace("new", 2u8).unwrap(), None);
        let keys: Vec<&str> = metadata.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["name", "count", "below", "words", "new"]);
        assert!(metadata.insert("", 1u8).is_err());
        assert!(metadata.insert("k".repeat(65536), 1u8).is_err());
        let copy = metadata.clone();
        assert!(metadata.extend(copy).is_err());
    }
}
