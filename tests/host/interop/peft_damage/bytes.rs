//! Folders with changed bytes, with files of each other, and without files.

use std::fs;

use super::{CONFIG, FOLDERS, TENSORS, Whole};
use crate::support::{damage::damaged, values::on_flex};

/// Damaged copies of each file.
const COPIES: u64 = 100;

#[test]
fn changed_bytes_are_an_error_or_change_as_many_values() {
    if !on_flex() {
        return;
    }
    let mut loaded_copies = 0;
    for folder in FOLDERS {
        let whole = Whole::open(folder);
        let header = u64::from_le_bytes(whole.tensors[..8].try_into().unwrap()) as usize + 8;
        for seed in 0..COPIES {
            let what = format!("{}, seed {seed}", whole.name);
            let (tensors, flips) = damaged(&whole.tensors, header, seed);
            if let Ok(loaded) = whole.load(Some(&whole.config), Some(&tensors)) {
                loaded_copies += 1;
                assert!(loaded.adapter.config == whole.read, "{what}");
                let flips = flips.unwrap_or_else(|| panic!("{what}: another length"));
                assert!(whole.num_changed(&loaded) <= flips, "{what}");
            }
            let (config, _) = damaged(&whole.config, whole.config.len(), seed);
            if let Ok(loaded) = whole.load(Some(&config), Some(&whole.tensors)) {
                loaded_copies += 1;
                loaded.adapter.config.validate().unwrap();
                assert_eq!(whole.num_changed(&loaded), 0, "{what}");
            }
        }
    }
    assert!(loaded_copies > 100, "{loaded_copies}");
}

/// Folders whose tensors have the same names and shapes.
const SAME: [&[&str]; 3] = [
    &["g_adapter_lora", "g_adapter_rslora"],
    &["prompt_p_tuning", "prompt_prompt_tuning"],
    &[],
];

#[test]
fn files_of_another_folder_are_an_error_that_names_a_tensor() {
    if !on_flex() {
        return;
    }
    let folders = FOLDERS.map(Whole::open);
    for whole in &folders {
        for other in folders.iter().filter(|other| other.name != whole.name) {
            let of_both = [whole.name, other.name];
            let loaded = whole.load(Some(&whole.config), Some(&other.tensors));
            match SAME
                .iter()
                .any(|same| of_both.iter().all(|name| same.contains(name)))
            {
                true => assert!(loaded.unwrap().adapter.config == whole.read),
                false => {
                    let message = loaded.err().unwrap_or_else(|| panic!("{of_both:?}"));
                    let is_named = whole.names_tensor(&message) || other.names_tensor(&message);
                    assert!(is_named, "{of_both:?}: {message}");
                }
            }
        }
    }
}

#[test]
fn an_absent_or_empty_file_is_named() {
    if !on_flex() {
        return;
    }
    let whole = Whole::open(FOLDERS[0]);
    let (config, tensors) = (Some(&whole.config[..]), Some(&whole.tensors[..]));
    let empty: Option<&[u8]> = Some(&[]);
    for (config, tensors, expected) in [
        (None, tensors, CONFIG),
        (empty, tensors, CONFIG),
        (tensors, config, CONFIG),
        (config, None, TENSORS),
        (config, empty, TENSORS),
        (config, config, TENSORS),
    ] {
        let error = whole.load(config, tensors).err().unwrap();
        assert!(error.contains(expected), "{error}");
    }
    // A folder in the place of a file.
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(CONFIG)).unwrap();
    let error = whole.load_from(folder.path()).err().unwrap();
    assert!(error.contains(CONFIG), "{error}");
}
