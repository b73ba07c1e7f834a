//! Damaged and malicious GGUF files: reading them is an error.

use std::fs;

use bitnet_burn::interop::gguf::{GgufError, GgufReader, LoadOptions};
use proptest::prelude::*;

use super::file::{read, writer};
use crate::support::oracle::data_path;

/// Builder of a file from raw parts.
#[derive(Clone)]
struct Raw {
    magic: [u8; 4],
    version: u32,
    num_tensors: u64,
    num_keys: u64,
    keys: Vec<u8>,
    tensors: Vec<u8>,
    data: usize,
}

impl Raw {
    fn new() -> Self {
        Self {
            magic: *b"GGUF",
            version: 3,
            num_tensors: 0,
            num_keys: 0,
            keys: Vec::new(),
            tensors: Vec::new(),
            data: 0,
        }
    }

    /// Adds a key with the bytes of its type and value.
    fn key(mut self, key: &[u8], value_type: u32, value: &[u8]) -> Self {
        self.num_keys += 1;
        self.keys.extend((key.len() as u64).to_le_bytes());
        self.keys.extend(key);
        self.keys.extend(value_type.to_le_bytes());
        self.keys.extend(value);
        self
    }

    fn tensor(mut self, name: &str, sizes: &[u64], ggml_type: u32, offset: u64) -> Self {
        self.num_tensors += 1;
        self.tensors.extend((name.len() as u64).to_le_bytes());
        self.tensors.extend(name.as_bytes());
        self.tensors.extend((sizes.len() as u32).to_le_bytes());
        self.tensors
            .extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
        self.tensors.extend(ggml_type.to_le_bytes());
        self.tensors.extend(offset.to_le_bytes());
        self
    }

    fn data(mut self, bytes: usize) -> Self {
        self.data = bytes;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.num_tensors.to_le_bytes());
        bytes.extend(self.num_keys.to_le_bytes());
        bytes.extend(&self.keys);
        bytes.extend(&self.tensors);
        bytes.resize(bytes.len().next_multiple_of(32) + self.data, 0);
        bytes
    }

    fn error(&self) -> GgufError {
        read(&self.bytes()).unwrap_err()
    }
}

#[test]
fn truncated_files_are_errors() {
    let bytes = fs::read(data_path("e_tiny.gguf")).unwrap();
    // The last tensor ends where the file does.
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "{length}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.gguf");
    fs::write(&path, &bytes[..4000]).unwrap();
    let error = GgufReader::open(&path).unwrap_err();
    assert!(
        error.to_string().starts_with(path.to_str().unwrap()),
        "{error}"
    );
    assert!(
        matches!(error.kind(), GgufError::Outside { tensor, .. } if tensor == "token_embd.weight")
    );
    fs::write(&path, "").unwrap();
    assert!(GgufReader::open(&path).is_err());
    assert!(matches!(
        GgufReader::open(folder.path()),
        Err(GgufError::Io { .. })
    ));
}

#[test]
fn other_files_are_refused() {
    let mut raw = Raw::new();
    assert!(read(&raw.bytes()).is_ok());
    raw.version = 2;
    assert!(read(&raw.bytes()).is_ok());
    for version in [0, 1, 4, u32::MAX] {
        raw.version = version;
        assert!(matches!(raw.error(), GgufError::Version { found } if found == version));
    }
    raw.version = 3u32.swap_bytes();
    assert!(matches!(raw.error(), GgufError::BigEndian));
    raw.magic = *b"ggml";
    assert!(matches!(raw.error(), GgufError::OtherKind { found } if found == b"ggml"));
}

#[test]
fn counts_are_checked_before_there_is_room_for_them() {
    for count in [5, 1 << 32, u64::MAX] {
        let mut raw = Raw::new();
        raw.num_keys = count;
        assert!(matches!(raw.error(), GgufError::Count { what: "keys", .. }));
        raw.num_keys = 0;
        raw.num_tensors = count;
        assert!(matches!(
            raw.error(),
            GgufError::Count {
                what: "tensors",
                ..
            }
        ));
        // A key that is longer than the file.
        let mut raw = Raw::new().data(32);
        raw.num_keys = 1;
        raw.keys
            .extend((count + (count < 64) as u64 * 64).to_le_bytes());
        assert!(matches!(
            raw.error(),
            GgufError::Truncated { what: "key", .. }
        ));
        // Arrays of every type of numbers, and of strings.
        for element in (0..13).filter(|&element| ![7, 9].contains(&element)) {
            let mut value = (element as u32).to_le_bytes().to_vec();
            value.extend((count.saturating_add(64)).to_le_bytes());
            let error = Raw::new().key(b"k", 9, &value).error();
            assert!(matches!(error, GgufError::Count { .. }), "{error}");
        }
    }
}

#[test]
fn values_are_checked() {
    let error = |key: &[u8], value_type, value: &[u8]| {
        Raw::new().key(key, value_type, value).error().to_string()
    };
    assert_eq!(error(b"k", 7, &[2]), "key `k`: expected 0 or 1, found 2");
    assert_eq!(
        error(b"k", 13, &[2]),
        "key `k`: expected a type from 0 to 12, found 13"
    );
    assert_eq!(error(b"\xff", 0, &[2]), "byte 32: key is not UTF-8");
    assert_eq!(error(b"", 0, &[2]), "key ``: a key has 1 to 65535 bytes");
    let twice = Raw::new().key(b"k", 0, &[1]).key(b"k", 0, &[2]);
    assert_eq!(twice.error().to_string(), "key `k` occurs twice");
    let alignment = Raw::new().key(b"general.alignment", 4, &33u32.to_le_bytes());
    assert!(matches!(
        alignment.error(),
        GgufError::Alignment { found: 33 }
    ));
    let alignment = Raw::new().key(b"general.alignment", 7, &[1]);
    assert!(matches!(alignment.error(), GgufError::KeyType { .. }));
}

#[test]
fn arrays_in_arrays_are_refused_at_the_first() {
    let mut value = Vec::new();
    for _ in 0..10_000 {
        value.extend(9u32.to_le_bytes());
        value.extend(1u64.to_le_bytes());
    }
    let error = Raw::new().key(b"deep", 9, &value).error();
    let text = "key `deep`: arrays of arrays are not read";
    assert!(matches!(error, GgufError::Key { .. }) && error.to_string() == text);
}

#[test]
fn tensors_are_checked() {
    let tensor = |sizes: &[u64], ggml_type, offset| {
        Raw::new().tensor("w", sizes, ggml_type, offset).data(128)
    };
    assert!(read(&tensor(&[32], 0, 0).bytes()).is_ok());
    assert!(read(&tensor(&[4, 1, 2], 0, 96).bytes()).is_ok());
    let error = |sizes: &[u64], ggml_type, offset| tensor(sizes, ggml_type, offset).error();
    for sizes in [&[] as &[u64], &[1; 5]] {
        assert!(matches!(error(sizes, 0, 0), GgufError::Dimensions { .. }));
    }
    for sizes in [
        &[0u64] as &[u64],
        &[1 << 32, 1 << 32],
        &[u64::MAX, 2],
        &[1 << 62, 4],
    ] {
        assert!(
            matches!(error(sizes, 0, 0), GgufError::Shape { .. }),
            "{sizes:?}"
        );
    }
    // The number of elements is valid, but their bytes overflow or are missing.
    assert!(matches!(
        error(&[1 << 62], 0, 0),
        GgufError::RowLength { .. }
    ));
    assert!(matches!(error(&[33], 0, 0), GgufError::Outside { .. }));
    assert!(matches!(error(&[1 << 60], 0, 0), GgufError::Outside { .. }));
    assert!(matches!(
        error(&[1], 0, u64::MAX - 31),
        GgufError::Outside { .. }
    ));
    assert!(matches!(error(&[1], 0, 160), GgufError::Outside { .. }));
    assert!(matches!(error(&[1], 0, 33), GgufError::Misaligned { .. }));
    assert!(matches!(error(&[33], 8, 0), GgufError::RowLength { .. }));
    for ggml_type in [4, 31, 37, 99, u32::MAX] {
        let error = error(&[32], ggml_type, 0).to_string();
        assert_eq!(
            error,
            format!("tensor `w`: its type {ggml_type} is not known")
        );
    }
    let two = |offset| {
        Raw::new()
            .tensor("a", &[16], 0, offset)
            .tensor("b", &[9], 0, 0)
            .data(128)
    };
    assert!(read(&two(64).bytes()).is_ok());
    assert!(matches!(
        two(32).error(),
        GgufError::Overlap { first, second } if first == "b" && second == "a"
    ));
    let same = Raw::new()
        .tensor("a", &[1], 0, 0)
        .tensor("a", &[1], 0, 32)
        .data(64);
    assert!(matches!(same.error(), GgufError::DuplicateTensor { .. }));
}

/// Reads everything that a reader offers.
fn look_at(reader: &GgufReader, length: usize) {
    let mut total = 0;
    for tensor in reader.tensors() {
        let shape = tensor.shape();
        let num_bytes = tensor.ggml_type().num_bytes(shape.row_len(), shape.rows());
        assert_eq!(num_bytes, Some(tensor.bytes().len() as u64));
        total += tensor.bytes().len();
        if tensor.ggml_type().has_codec() {
            let values = tensor.decode().unwrap();
            assert_eq!(values.len() as u64, tensor.shape().num_elements());
        }
        if tensor.ggml_type().is_ternary() {
            let _ = tensor.decode_ternary();
        }
    }
    assert!(total <= length);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_files_are_errors_or_right(
        tiny in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        words in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), 0u32..64), 0..2),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = if tiny {
            fs::read(data_path("e_tiny.gguf")).unwrap()
        } else {
            writer().to_bytes().unwrap()
        };
        // Most fields that can be damaged are at the start.
        let head = 1000;
        for (place, byte) in changes {
            bytes[place.index(head)] = byte;
        }
        for (place, word, shift) in words {
            let place = place.index(head);
            bytes[place..place + 8].copy_from_slice(&(word >> shift).to_le_bytes());
        }
        if let Some(cut) = cut {
            let length = cut.index(bytes.len());
            bytes.truncate(length);
        }
        for i2_s in [false, true] {
            let options = LoadOptions::new().with_i2_s(i2_s);
            if let Ok(reader) = GgufReader::from_bytes(bytes.as_slice(), &options) {
                look_at(&reader, bytes.len());
            }
        }
    }

    #[test]
    fn random_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend(&bytes);
        for bytes in [bytes, file] {
            if let Ok(reader) = read(&bytes) {
                look_at(&reader, bytes.len());
            }
        }
    }
}
