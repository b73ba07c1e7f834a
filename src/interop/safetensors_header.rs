//! The header of a safetensors file.
//!
//! `safetensors` reads the header, and keeps the last of several tensors of one name, as it collects them in a map. Of
//! a tensor that is not as its bytes are, it does not say the name. So the entries are checked once before it.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use safetensors::tensor::TensorInfo;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};

/// Bytes of the length before the header.
const LENGTH_BYTES: usize = 8;
/// Name of the entry that is no tensor.
const METADATA: &str = "__metadata__";

/// An object of tensors that has each name once.
struct Entries;

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self)
    }
}

impl<'de> Visitor<'de> for Entries {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let named = |error: A::Error| A::Error::custom(format!("{name}: {error}"));
            if name == METADATA {
                let metadata = map.next_value::<Option<HashMap<String, String>>>();
                metadata.map_err(named)?;
            } else {
                let info = map.next_value().map_err(named)?;
                check_size(&info).map_err(|reason| named(A::Error::custom(reason)))?;
            }
            if let Some(name) = names.replace(name) {
                return Err(A::Error::custom(format!("two tensors are called {name}")));
            }
        }
        Ok(Self)
    }
}

/// Refuses a shape of other bytes than the tensor has. Offsets that do not follow each other are named by `safetensors`.
fn check_size(info: &TensorInfo) -> Result<(), String> {
    let TensorInfo { dtype, shape, .. } = info;
    let (start, end) = info.data_offsets;
    let sizes = [&shape[..], &[dtype.bitsize()]].concat();
    let bits = (sizes.iter()).try_fold(1usize, |bits, &size| bits.checked_mul(size));
    let bits = bits.ok_or_else(|| format!("an overflow in the shape {shape:?}"))?;
    match end.checked_sub(start) {
        Some(bytes) if bytes.checked_mul(8) != Some(bits) => Err(format!(
            "the shape {shape:?} of {dtype} takes {bits} bits, and there are {bytes} bytes"
        )),
        _ => Ok(()),
    }
}

/// Refuses a file whose header names a tensor twice, or has a tensor of another size than its bytes.
pub(super) fn check_header(file: &[u8]) -> Result<(), serde_json::Error> {
    let too_short = || serde_json::Error::custom("it has no header");
    let (length, rest) = file
        .split_first_chunk::<LENGTH_BYTES>()
        .ok_or_else(too_short)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let header = rest.get(..length).ok_or_else(|| {
        let found = rest.len();
        serde_json::Error::custom(format!("a header of {length} bytes, in a file of {found}"))
    })?;
    serde_json::from_slice::<Entries>(header).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str) -> Vec<u8> {
        let length = (header.len() as u64).to_le_bytes();
        [&length[..], header.as_bytes()].concat()
    }

    fn error(header: &str) -> String {
        check_header(&file(header)).unwrap_err().to_string()
    }

    /// Returns a header with a tensor of two `f32`.
    fn tensor(name: &str, shape: &str) -> String {
        format!(r#""{name}": {{"dtype": "F32", "shape": {shape}, "data_offsets": [0, 8]}}"#)
    }

    #[test]
    fn a_name_is_used_once() {
        let one = tensor("a", "[2]");
        let metadata = r#""__metadata__": {"a": "pt"}"#;
        assert!(check_header(&file(&format!("{{{metadata}, {one}}}"))).is_ok());
        assert!(error(&format!("{{{one}, {one}}}")).contains("two tensors are called a"));
    }

    #[test]
    fn a_tensor_that_is_not_as_its_bytes_are_is_named() {
        for (entry, expected) in [
            (
                tensor("a", "[3]"),
                "a: the shape [3] of F32 takes 96 bits, and there are 8 bytes",
            ),
            (
                tensor("a", "[4294967296, 4294967296, 0]"),
                "a: an overflow in the shape",
            ),
            (tensor("a", "[-2]"), "a: invalid value: integer `-2`"),
            (
                r#""a": {"dtype": "F33"}"#.to_string(),
                "a: unknown variant `F33`",
            ),
            (r#""a": 1"#.to_string(), "a: invalid type: integer `1`"),
            (
                r#""__metadata__": {"a": 1}"#.to_string(),
                "__metadata__: invalid type",
            ),
        ] {
            let error = error(&format!("{{{entry}}}"));
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_header_longer_than_the_file_and_deep_json_are_refused() {
        let mut long = file("{}");
        long[0] = 200;
        let error = check_header(&long).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("a header of 200 bytes, in a file of 2")
        );
        let deep = format!("{{\"a\": {}", "[".repeat(100_000));
        assert!(check_header(&file(&deep)).is_err());
        assert!(check_header(&[1, 2]).is_err());
    }
}
