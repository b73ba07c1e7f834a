//! The names in the header of a safetensors file.
//!
//! `safetensors` reads the header, and keeps the last of several tensors of one name, as it collects them in
//! a map. So the names are read once more, before it.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};

/// Bytes of the length before the header.
const LENGTH_BYTES: usize = 8;

/// A JSON object that has each key once. A map would keep the last of several tensors of one name.
struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut names = HashSet::new();
        while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
            if let Some(name) = names.replace(name) {
                return Err(A::Error::custom(format!("two tensors are called {name}")));
            }
        }
        Ok(Self)
    }
}

/// Refuses a file whose header names a tensor twice.
pub(super) fn check_unique_names(file: &[u8]) -> Result<(), serde_json::Error> {
    let too_short = || serde_json::Error::custom("it has no header");
    let (length, rest) = file
        .split_first_chunk::<LENGTH_BYTES>()
        .ok_or_else(too_short)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let header = rest.get(..length).ok_or_else(|| {
        let found = rest.len();
        serde_json::Error::custom(format!("a header of {length} bytes, in a file of {found}"))
    })?;
    serde_json::from_slice::<UniqueKeys>(header).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str) -> Vec<u8> {
        let length = (header.len() as u64).to_le_bytes();
        [&length[..], header.as_bytes()].concat()
    }

    #[test]
    fn a_name_is_used_once() {
        assert!(check_unique_names(&file(r#"{"a": 1, "b": {"a": 2}}"#)).is_ok());
        let error = check_unique_names(&file(r#"{"a": 1, "a": 2}"#)).unwrap_err();
        assert!(error.to_string().contains("two tensors are called a"));
    }

    #[test]
    fn a_header_longer_than_the_file_and_deep_json_are_refused() {
        let mut long = file("{}");
        long[0] = 200;
        let error = check_unique_names(&long).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("a header of 200 bytes, in a file of 2")
        );
        let deep = format!("{{\"a\": {}", "[".repeat(100_000));
        assert!(check_unique_names(&file(&deep)).is_err());
        assert!(check_unique_names(&[1, 2]).is_err());
    }
}
