use std::{ffi::OsString, fs, path::PathBuf};

use bitnet_burn::quant::calibration::{
    CalibrationError, CalibrationTable, Observer, ObserverConfig, ObserverGranularity,
};

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
    let mut observer = ObserverConfig::MinMax { granularity }.init();
    observer.observe_values(values, values.len());
    observer
}

fn table() -> CalibrationTable {
    let mut table = CalibrationTable::default();
    table.insert("layers.0.input", &observer(&ODD)).unwrap();
    let mut mse = ObserverConfig::mse().init();
    mse.observe_values(&[0.1, -0.7, 0.2], 1);
    table.insert("layers.1.input", &mse).unwrap();
    table
}

fn error_of(folder: &Folder, contents: &str) -> CalibrationError {
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
    assert!(matches!(&error, CalibrationError::Io { file, .. } if *file == folder.file()));
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
        CalibrationError::Version {
            found: 7,
            supported: 1,
            ..
        }
    ));
    assert!(error.to_string().starts_with(&file), "{error}");

    let error = error_of(
        &folder,
        &json.replace("bitnet-burn calibration", "something"),
    );
    assert!(matches!(error, CalibrationError::Format { found, .. } if found == "something"));

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
            matches!(error, CalibrationError::Malformed { .. }),
            "{broken}: {error:?}"
        );
        let text = error.to_string();
        assert!(text.starts_with(&file) && text.contains(message), "{text}");
    }
}
