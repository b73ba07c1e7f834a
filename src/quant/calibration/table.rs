use std::{collections::BTreeMap, fs, io::Write, path::Path};

use serde::{Deserialize, Serialize};

use super::{CalibrationError, Observer, ObserverConfig, Range};
use crate::base::atomic_file;

/// Format name in the file.
const FORMAT: &str = "bitnet-burn calibration";

/// Version that is written, and the newest one that can be read.
const VERSION: u64 = 1;

/// The ranges of a model: one for each observed tensor, by its path in the model.
///
/// [`save`](Self::save) writes a JSON file; floats are restored bit for bit.
///
/// # Example
///
/// ```
/// use bitnet_burn::quant::calibration::{CalibrationTable, ObserverConfig};
///
/// let mut observer = ObserverConfig::min_max().init();
/// observer.observe_values(&[-0.1, 0.3], 1);
/// let mut table = CalibrationTable::default();
/// table.insert("layers.0.input", &observer)?;
///
/// let file = std::env::temp_dir().join("bitnet_burn_calibration_example.json");
/// table.save(&file)?;
/// assert_eq!(CalibrationTable::load(&file)?, table);
/// # std::fs::remove_file(&file)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CalibrationTable {
    entries: BTreeMap<String, CalibrationEntry>,
}

/// A range of a [`CalibrationTable`] and its origin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationEntry {
    /// Path of the observed tensor in the model.
    pub path: String,
    /// Configuration of the observer of the range.
    pub observer: ObserverConfig,
    /// Number of samples observed.
    pub num_samples: u64,
    /// The range.
    pub range: Range,
}

impl CalibrationTable {
    /// Adds the range of an observer.
    ///
    /// # Errors
    ///
    /// If the path is already in the table, or the observer has no range.
    pub fn insert(
        &mut self,
        path: impl Into<String>,
        observer: &Observer,
    ) -> Result<(), CalibrationError> {
        let path = path.into();
        if self.entries.contains_key(&path) {
            return Err(CalibrationError::Duplicate { path, file: None });
        }
        let range = match observer.range() {
            Ok(range) => range,
            Err(source) => {
                let source = Box::new(source);
                return Err(CalibrationError::NoRange { path, source });
            }
        };
        let entry = CalibrationEntry {
            path: path.clone(),
            observer: observer.config().clone(),
            num_samples: observer.num_samples(),
            range,
        };
        self.entries.insert(path, entry);
        Ok(())
    }

    /// Returns the entry of a path.
    pub fn get(&self, path: &str) -> Option<&CalibrationEntry> {
        self.entries.get(path)
    }

    /// Returns all entries with their paths, in alphabetical order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &CalibrationEntry)> {
        (self.entries.iter()).map(|(path, entry)| (path.as_str(), entry))
    }

    /// Writes the table to a file atomically: the new table is written under a temporary name and renamed,
    /// so that the file always holds a complete table.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn save(&self, file: impl AsRef<Path>) -> Result<(), CalibrationError> {
        let file = file.as_ref();
        let contents = Contents {
            format: FORMAT.to_string(),
            version: VERSION,
            entries: self.entries.values().cloned().collect(),
        };
        let json = serde_json::to_vec_pretty(&contents).expect("a table of names and numbers");
        atomic_file::write(file, |file| file.write_all(&json)).map_err(|source| {
            CalibrationError::Io {
                file: file.to_path_buf(),
                source,
            }
        })
    }

    /// Reads a table written by [`save`](Self::save).
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is not a table, has another version, is malformed, or has a path
    /// twice.
    pub fn load(file: impl AsRef<Path>) -> Result<Self, CalibrationError> {
        let file = file.as_ref();
        let json = fs::read(file).map_err(|source| CalibrationError::Io {
            file: file.to_path_buf(),
            source,
        })?;
        let malformed = |source| CalibrationError::Malformed {
            file: file.to_path_buf(),
            source,
        };
        // A newer version may have another format, so only the header is read first.
        let header: Header = serde_json::from_slice(&json).map_err(malformed)?;
        header.check(file)?;
        let contents: Contents = serde_json::from_slice(&json).map_err(malformed)?;
        let mut entries = BTreeMap::new();
        for entry in contents.entries {
            let path = entry.path.clone();
            if entries.insert(path.clone(), entry).is_some() {
                let file = Some(file.to_path_buf());
                return Err(CalibrationError::Duplicate { path, file });
            }
        }
        Ok(Self { entries })
    }
}

/// The header of a file of any version.
#[derive(Deserialize)]
struct Header {
    format: String,
    version: u64,
}

/// The content of a file of this version. Entries are a list, because JSON readers silently drop duplicate
/// keys.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    format: String,
    version: u64,
    entries: Vec<CalibrationEntry>,
}

impl Header {
    fn check(self, file: &Path) -> Result<(), CalibrationError> {
        let file = file.to_path_buf();
        if self.format != FORMAT {
            let found = self.format;
            return Err(CalibrationError::Format { file, found });
        }
        if self.version != VERSION {
            let (found, supported) = (self.version, VERSION);
            return Err(CalibrationError::Version {
                file,
                found,
                supported,
            });
        }
        Ok(())
    }
}
