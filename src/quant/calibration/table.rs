use std::{collections::BTreeMap, fs, io::Write, path::Path};

use serde::{Deserialize, Serialize};

use super::{Observer, ObserverConfig, Range, TableError};
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
/// use bitnet_burn::quant::calibration::{CalibrationTable, MinMaxConfig, ObserverConfig};
///
/// let mut observer = ObserverConfig::from(MinMaxConfig::default()).init();
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
#[derive(Debug, Clone, PartialEq)]
pub struct CalibrationEntry {
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
    ) -> Result<(), TableError> {
        let path = path.into();
        if self.entries.contains_key(&path) {
            return Err(TableError::Duplicate { path, file: None });
        }
        let range = match observer.range() {
            Ok(range) => range,
            Err(source) => return Err(TableError::NoRange { path, source }),
        };
        let entry = CalibrationEntry {
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
    pub fn save(&self, file: impl AsRef<Path>) -> Result<(), TableError> {
        let file = file.as_ref();
        let row = |(path, entry): (&String, &CalibrationEntry)| Row {
            path: path.clone(),
            observer: entry.observer.clone(),
            num_samples: entry.num_samples,
            range: entry.range.clone(),
        };
        let contents = Contents {
            format: FORMAT.to_string(),
            version: VERSION,
            entries: self.entries.iter().map(row).collect(),
        };
        let json = serde_json::to_vec_pretty(&contents).expect("a table of names and numbers");
        atomic_file::write(file, |file| file.write_all(&json)).map_err(|source| TableError::Io {
            file: file.to_path_buf(),
            source,
        })
    }

    /// Reads a table written by [`save`](Self::save).
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is not a table, has another version, is malformed, or has a path
    /// twice.
    pub fn load(file: impl AsRef<Path>) -> Result<Self, TableError> {
        let file = file.as_ref();
        let json = fs::read(file).map_err(|source| TableError::Io {
            file: file.to_path_buf(),
            source,
        })?;
        let malformed = |source| TableError::Malformed {
            file: file.to_path_buf(),
            source,
        };
        // A newer version may have another format, so only the header is read first.
        let header: Header = serde_json::from_slice(&json).map_err(malformed)?;
        header.check(file)?;
        let contents: Contents = serde_json::from_slice(&json).map_err(malformed)?;
        let mut entries = BTreeMap::new();
        for row in contents.entries {
            let entry = CalibrationEntry {
                observer: row.observer,
                num_samples: row.num_samples,
                range: row.range,
            };
            if entries.insert(row.path.clone(), entry).is_some() {
                return Err(TableError::Duplicate {
                    path: row.path,
                    file: Some(file.to_path_buf()),
                });
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

/// The content of a file of this version.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    format: String,
    version: u64,
    entries: Vec<Row>,
}

/// One entry. Entries are a list, because JSON readers silently drop duplicate keys.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    path: String,
    observer: ObserverConfig,
    num_samples: u64,
    range: Range,
}

impl Header {
    fn check(self, file: &Path) -> Result<(), TableError> {
        let file = file.to_path_buf();
        if self.format != FORMAT {
            let found = self.format;
            return Err(TableError::Format { file, found });
        }
        if self.version != VERSION {
            let (found, supported) = (self.version, VERSION);
            return Err(TableError::Version {
                file,
                found,
                supported,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::calibration::{MinMaxConfig, MseConfig, ObserverGranularity};
    use std::{ffi::OsString, path::PathBuf};

    /// An empty folder for each test, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let name = format!("bitnet-burn-table-{test}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("calibration.json")
        }

        fn names(&self) -> Vec<OsString> {
            let names = fs::read_dir(&self.0).unwrap();
            names.map(|entry| entry.unwrap().file_name()).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Floats that an inexact reader or writer would change.
    const ODD: [f32; 8] = [
        1.0e-45,
        -1.175_494_2e-38,
        -0.1,
        0.3,
        1.0 / 3.0,
        16_777_215.0,
        9.007_199e16,
        f32::MAX,
    ];

    fn observer(values: &[f32]) -> Observer {
        let granularity = ObserverGranularity::PerChannel;
        let mut observer = ObserverConfig::from(MinMaxConfig { granularity }).init();
        observer.observe_values(values, values.len());
        observer
    }

    fn table() -> CalibrationTable {
        let mut table = CalibrationTable::default();
        table.insert("layers.0.input", &observer(&ODD)).unwrap();
        let mut mse = ObserverConfig::from(MseConfig::default()).init();
        mse.observe_values(&[0.1, -0.7, 0.2], 1);
        table.insert("layers.1.input", &mse).unwrap();
        table
    }

    fn error_of(folder: &Folder, contents: &str) -> TableError {
        fs::write(folder.file(), contents).unwrap();
        CalibrationTable::load(folder.file()).unwrap_err()
    }

    #[test]
    fn a_table_is_read_back_to_the_last_bit() {
        let folder = Folder::new("round-trip");
        table().save(folder.file()).unwrap();
        let read = CalibrationTable::load(folder.file()).unwrap();
        assert_eq!(read, table());
        let range = &read.get("layers.0.input").unwrap().range;
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(range.min()), bits(&ODD));
        assert_eq!(read.iter().len(), 2);
    }

    #[test]
    fn any_float_survives_the_json() {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        let mut rng = StdRng::seed_from_u64(51);
        let floats = (0..20_000).map(|_| f32::from_bits(rng.random()));
        let floats: Vec<f32> = floats.filter(|v| v.is_finite()).collect();
        let range = Range::new(floats.clone(), floats.clone()).unwrap();
        let json = serde_json::to_string(&range).unwrap();
        let read: Range = serde_json::from_str(&json).unwrap();
        let equal = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
        assert!(read.min().iter().zip(&floats).all(equal));
        assert!(read.max().iter().zip(&floats).all(equal));
    }

    #[test]
    fn saving_replaces_the_file_and_leaves_nothing_beside_it() {
        let folder = Folder::new("replace");
        CalibrationTable::default().save(folder.file()).unwrap();
        table().save(folder.file()).unwrap();
        assert_eq!(CalibrationTable::load(folder.file()).unwrap(), table());
        assert_eq!(folder.names(), ["calibration.json"]);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_stays_and_is_named() {
        let folder = Folder::new("io");
        // A folder with contents, which a file cannot replace.
        fs::create_dir_all(folder.file().join("full")).unwrap();
        let error = table().save(folder.file()).unwrap_err();
        assert!(matches!(&error, TableError::Io { file, .. } if *file == folder.file()));
        assert_eq!(folder.names(), ["calibration.json"]);
        let missing = folder.0.join("missing.json");
        let error = CalibrationTable::load(&missing).unwrap_err();
        assert!(
            error.to_string().starts_with(missing.to_str().unwrap()),
            "{error}"
        );
    }

    #[test]
    fn a_path_is_in_the_table_once() {
        let mut table = table();
        let error = table
            .insert("layers.1.input", &observer(&[0.0]))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`layers.1.input` is in the table already"
        );
        assert_eq!(table.iter().len(), 2);
    }

    #[test]
    fn an_observer_without_a_range_is_no_entry() {
        let error = table().insert("a", &observer(&[f32::NAN])).unwrap_err();
        let message = "`a` has no range: 1 of 1 observed values are NaN or infinite";
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn what_is_no_table_is_told_with_the_file_and_what_was_found() {
        let folder = Folder::new("refused");
        table().save(folder.file()).unwrap();
        let json = fs::read_to_string(folder.file()).unwrap();
        let file = folder.file().display().to_string();

        let newer = json.replace("\"version\": 1", "\"version\": 7, \"more\": []");
        let error = error_of(&folder, &newer);
        assert!(matches!(
            error,
            TableError::Version {
                found: 7,
                supported: 1,
                ..
            }
        ));
        assert!(error.to_string().starts_with(&file), "{error}");

        let error = error_of(&folder, &json.replace(FORMAT, "something"));
        assert!(matches!(error, TableError::Format { found, .. } if found == "something"));

        let twice = json.replace("layers.1.input", "layers.0.input");
        let error = error_of(&folder, &twice);
        assert_eq!(
            error.to_string(),
            format!("{file}: `layers.0.input` is in the table already")
        );

        for (broken, message) in [
            (json[..json.len() / 2].to_string(), "EOF while parsing"),
            ("[]".to_string(), "invalid length 0"),
            ("{}".to_string(), "missing field `format`"),
            (String::new(), "EOF while parsing"),
            (json.replace("16777215.0", "1e39"), "out of range"),
            (
                json.replace("\"num_samples\": 1", "\"num_samples\": -1"),
                "invalid value",
            ),
            (
                json.replace("\"num_samples\": 1,", ""),
                "missing field `num_samples`",
            ),
            (
                json.replace("\"bits\": 8", "\"bits\": 80"),
                "must be 2 to 8, got 80",
            ),
        ] {
            let error = error_of(&folder, &broken);
            assert!(
                matches!(error, TableError::Malformed { .. }),
                "{broken}: {error:?}"
            );
            let text = error.to_string();
            assert!(text.starts_with(&file) && text.contains(message), "{text}");
        }
    }
}
