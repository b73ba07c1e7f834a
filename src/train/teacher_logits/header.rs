use std::{io::Read, path::Path};

use super::{
    LogitsType, StoredLogits, TeacherLogitsError, TeacherLogitsFormat,
    format::{CHECKSUM_SIZE, MAX_FINGERPRINT},
};
use crate::base::file_error::FileError;

const MAGIC: &[u8; 8] = b"BNBTLOGS";
const VERSION: u32 = 1;
/// Number of bytes before the fingerprint.
const FIXED: usize = 46;

/// Header of a file, with the number of examples that follow.
pub(super) struct Header {
    pub format: TeacherLogitsFormat,
    pub num_examples: u64,
}

impl Header {
    /// Returns the size of the header of a format, in bytes.
    pub fn num_bytes(format: &TeacherLogitsFormat) -> u64 {
        (FIXED + format.fingerprint.len() + CHECKSUM_SIZE) as u64
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let format = &self.format;
        let (stored, temperature) = match format.stored {
            StoredLogits::Full => (0, 0.0),
            StoredLogits::TopK { temperature, .. } => (1, temperature),
        };
        let logits_type = match format.logits_type {
            LogitsType::F32 => 0,
            LogitsType::F16 => 1,
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([logits_type, stored, 0, 0]);
        for size in [format.vocab, format.positions, format.num_stored()] {
            bytes.extend((size as u32).to_le_bytes());
        }
        bytes.extend(temperature.to_le_bytes());
        bytes.extend(self.num_examples.to_le_bytes());
        bytes.extend((format.fingerprint.len() as u16).to_le_bytes());
        bytes.extend(format.fingerprint.as_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// Reads the header from the start of a file of `length` bytes.
    pub fn read(file: impl Read, length: u64, path: &Path) -> Result<Self, TeacherLogitsError> {
        let longest = FIXED + usize::from(u16::MAX) + CHECKSUM_SIZE;
        let mut bytes = Vec::new();
        file.take(longest as u64)
            .read_to_end(&mut bytes)
            .map_err(FileError::at(path))?;
        check_kind(&bytes, path)?;
        let check_length = |end: usize| match bytes.len() < end {
            true => {
                let expected = format!("{end} bytes");
                Err(TeacherLogitsError::of_file(path, expected, length))
            }
            false => Ok(()),
        };
        check_length(FIXED)?;
        let end = FIXED + usize::from(u16::from_le_bytes(array(&bytes, FIXED - 2)));
        check_length(end + CHECKSUM_SIZE)?;
        check_sum(
            "header",
            crc32fast::hash(&bytes[..end]),
            &bytes[end..],
            path,
        )?;
        Self::parse(&bytes[..end], path)
    }

    /// Parses a header whose checksum was verified.
    fn parse(bytes: &[u8], path: &Path) -> Result<Self, TeacherLogitsError> {
        let wrong = |expected: &str, found: String| {
            Err(TeacherLogitsError::of_part(path, "header", expected, found))
        };
        let size = |start| u32::from_le_bytes(array(bytes, start)) as usize;
        let (vocab, positions, num_stored) = (size(16), size(20), size(24));
        let temperature = f64::from_le_bytes(array(bytes, 28));
        let fingerprint = match core::str::from_utf8(&bytes[FIXED..]) {
            Ok(fingerprint) if fingerprint.len() <= MAX_FINGERPRINT => fingerprint.to_string(),
            _ => {
                let expected = format!("a fingerprint of at most {MAX_FINGERPRINT} bytes of UTF-8");
                return wrong(&expected, format!("{} bytes", bytes.len() - FIXED));
            }
        };
        let logits_type = match bytes[12] {
            0 => LogitsType::F32,
            1 => LogitsType::F16,
            other => return wrong("a type of logits of 0 or 1", other.to_string()),
        };
        let reserved = u16::from_le_bytes(array(bytes, 14));
        if vocab == 0 || positions == 0 || reserved != 0 {
            let found = (vocab, positions, reserved);
            return wrong("a vocabulary, positions, and zero", format!("{found:?}"));
        }
        let is_part = 0 < num_stored && num_stored < vocab;
        let stored = match bytes[13] {
            0 if num_stored == vocab && temperature == 0.0 => StoredLogits::Full,
            1 if is_part && temperature > 0.0 && temperature.is_finite() => StoredLogits::TopK {
                k: num_stored,
                temperature,
            },
            other => {
                let found = (other, num_stored, vocab, temperature);
                return wrong("all logits or the top k of them", format!("{found:?}"));
            }
        };
        let format = TeacherLogitsFormat {
            vocab,
            positions,
            logits_type,
            stored,
            fingerprint,
        };
        let num_examples = u64::from_le_bytes(array(bytes, 36));
        Ok(Self {
            format,
            num_examples,
        })
    }
}

/// Fails unless the file starts with the magic bytes and the version.
fn check_kind(bytes: &[u8], path: &Path) -> Result<(), TeacherLogitsError> {
    let start = &bytes[..bytes.len().min(MAGIC.len() + size_of::<u32>())];
    let version = start.strip_prefix(MAGIC);
    let Some(version) = version.and_then(|version| version.try_into().ok()) else {
        let found = format!("one that begins with {}", start.escape_ascii());
        let expected = "a file of teacher logits";
        return Err(TeacherLogitsError::of_file(path, expected, found));
    };
    match u32::from_le_bytes(version) {
        VERSION => Ok(()),
        other => {
            let expected = format!("version {VERSION} of the format");
            let found = format!("version {other}");
            Err(TeacherLogitsError::of_file(path, expected, found))
        }
    }
}

/// Fails unless the checksum in the file matches the bytes.
pub(super) fn check_sum(
    part: &str,
    expected: u32,
    found: &[u8],
    path: &Path,
) -> Result<(), TeacherLogitsError> {
    let found = u32::from_le_bytes(array(found, 0));
    if found == expected {
        return Ok(());
    }
    let expected = format!("checksum {expected:08x}");
    let found = format!("{found:08x}");
    Err(TeacherLogitsError::of_part(path, part, expected, found))
}

/// Returns the `N` bytes from `start` on; the caller ensures that they exist.
fn array<const N: usize>(bytes: &[u8], start: usize) -> [u8; N] {
    let bytes = &bytes[start..start + N];
    bytes.try_into().expect("a slice of N bytes")
}
