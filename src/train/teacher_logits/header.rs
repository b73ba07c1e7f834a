use std::{io::Read, path::Path};

use super::{
    LogitsType, StoredLogits, TeacherLogitsError, TeacherLogitsFormat,
    format::{CHECKSUM_SIZE, MAX_FINGERPRINT},
};

const MAGIC: &[u8; 8] = b"BNBTLOGS";
const VERSION: u32 = 1;
/// Number of bytes before the fingerprint.
const FIXED: usize = 46;

/// Header of a file, with the number of examples that follow.
pub(super) struct Header {
    pub format: TeacherLogitsFormat,
    pub num_examples: u64,
}

/// Header as stored in the file, not yet validated.
struct Raw {
    logits_type: u8,
    stored: u8,
    reserved: u16,
    vocab: u32,
    positions: u32,
    num_stored: u32,
    temperature: f64,
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
    pub fn read(mut file: impl Read, length: u64, path: &Path) -> Result<Self, TeacherLogitsError> {
        let io = TeacherLogitsError::io(path);
        let too_short = |expected: usize| TeacherLogitsError::Length {
            path: path.to_path_buf(),
            expected: expected as u64,
            found: length,
        };
        let mut start = Vec::new();
        let limit = (MAGIC.len() + size_of::<u32>()) as u64;
        file.by_ref()
            .take(limit)
            .read_to_end(&mut start)
            .map_err(&io)?;
        check_kind(&start, path)?;
        if length < FIXED as u64 {
            return Err(too_short(FIXED));
        }
        let mut bytes = start;
        bytes.resize(FIXED, 0);
        file.read_exact(&mut bytes[limit as usize..]).map_err(&io)?;

        let fingerprint = usize::from(u16::from_le_bytes(array(&bytes, FIXED - 2)));
        let end = FIXED + fingerprint;
        if length < (end + CHECKSUM_SIZE) as u64 {
            return Err(too_short(end + CHECKSUM_SIZE));
        }
        bytes.resize(end + CHECKSUM_SIZE, 0);
        file.read_exact(&mut bytes[FIXED..]).map_err(&io)?;
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
        let raw = Raw {
            logits_type: bytes[12],
            stored: bytes[13],
            reserved: u16::from_le_bytes(array(bytes, 14)),
            vocab: u32::from_le_bytes(array(bytes, 16)),
            positions: u32::from_le_bytes(array(bytes, 20)),
            num_stored: u32::from_le_bytes(array(bytes, 24)),
            temperature: f64::from_le_bytes(array(bytes, 28)),
        };
        let fingerprint = &bytes[FIXED..];
        let fingerprint = match core::str::from_utf8(fingerprint) {
            Ok(fingerprint) if fingerprint.len() <= MAX_FINGERPRINT => fingerprint.to_string(),
            _ => {
                let expected = format!("a fingerprint of at most {MAX_FINGERPRINT} bytes of UTF-8");
                let found = format!("{} bytes", fingerprint.len());
                return Err(wrong(path, expected, found));
            }
        };
        Ok(Self {
            format: raw.format(fingerprint, path)?,
            num_examples: u64::from_le_bytes(array(bytes, 36)),
        })
    }
}

impl Raw {
    fn format(
        self,
        fingerprint: String,
        path: &Path,
    ) -> Result<TeacherLogitsFormat, TeacherLogitsError> {
        let wrong = |expected: &str, found: String| Err(wrong(path, expected.to_string(), found));
        let logits_type = match self.logits_type {
            0 => LogitsType::F32,
            1 => LogitsType::F16,
            other => return wrong("a type of logits of 0 or 1", other.to_string()),
        };
        if self.vocab == 0 || self.positions == 0 || self.reserved != 0 {
            let found = (self.vocab, self.positions, self.reserved);
            return wrong("a vocabulary, positions, and zero", format!("{found:?}"));
        }
        let k = self.num_stored;
        let stored = match self.stored {
            0 if k == self.vocab && self.temperature == 0.0 => StoredLogits::Full,
            1 if 0 < k
                && k < self.vocab
                && self.temperature > 0.0
                && self.temperature.is_finite() =>
            {
                StoredLogits::TopK {
                    k: k as usize,
                    temperature: self.temperature,
                }
            }
            other => {
                let found = (other, k, self.vocab, self.temperature);
                return wrong("all logits or the top k of them", format!("{found:?}"));
            }
        };
        Ok(TeacherLogitsFormat {
            vocab: self.vocab as usize,
            positions: self.positions as usize,
            logits_type,
            stored,
            fingerprint,
        })
    }
}

/// Fails unless the file starts with the magic bytes and the version.
fn check_kind(start: &[u8], path: &Path) -> Result<(), TeacherLogitsError> {
    let Some(version) = start.strip_prefix(MAGIC).filter(|rest| rest.len() == 4) else {
        return Err(TeacherLogitsError::OtherKind {
            path: path.to_path_buf(),
            found: start.to_vec(),
        });
    };
    match u32::from_le_bytes(array(version, 0)) {
        VERSION => Ok(()),
        found => Err(TeacherLogitsError::Version {
            path: path.to_path_buf(),
            expected: VERSION,
            found,
        }),
    }
}

/// Fails unless the checksum in the file matches the bytes.
pub(super) fn check_sum(
    place: &str,
    expected: u32,
    found: &[u8],
    path: &Path,
) -> Result<(), TeacherLogitsError> {
    match u32::from_le_bytes(array(found, 0)) {
        found if found == expected => Ok(()),
        found => Err(TeacherLogitsError::Checksum {
            path: path.to_path_buf(),
            place: place.to_string(),
            expected,
            found,
        }),
    }
}

fn wrong(path: &Path, expected: String, found: String) -> TeacherLogitsError {
    TeacherLogitsError::Value {
        path: path.to_path_buf(),
        place: "header".to_string(),
        expected,
        found,
    }
}

/// Returns the `N` bytes from `start` on; the caller ensures that they exist.
fn array<const N: usize>(bytes: &[u8], start: usize) -> [u8; N] {
    let bytes = &bytes[start..start + N];
    bytes.try_into().expect("a slice of N bytes")
}
