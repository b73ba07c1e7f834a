//! Damaged and hostile folders: loading is an error, never a panic.

use std::fs;

use bitnet_burn::interop::hf::{LoadOptions, load};
use burn::tensor::Device;
use proptest::prelude::*;
use serde_json::json;

use crate::support::oracle::data_path;

/// Loads a folder of these files; it must return an error with any message.
fn try_load(config: &[u8], tensors: &[u8]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config).unwrap();
    fs::write(folder.path().join("model.safetensors"), tensors).unwrap();
    let loaded = load(folder.path(), &LoadOptions::new(), &Device::default());
    loaded.map(|_| ()).map_err(|error| error.to_string())
}

fn files(folder: &str) -> [Vec<u8>; 2] {
    ["config.json", "model.safetensors"].map(|name| fs::read(data_path(folder).join(name)).unwrap())
}

/// Loads a folder with this index.
fn try_index(index: &[u8], config: &[u8]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config).unwrap();
    fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    let loaded = load(folder.path(), &LoadOptions::new(), &Device::default());
    loaded.map(|_| ()).map_err(|error| error.to_string())
}

/// Returns header and data of a safetensors file.
fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length, header.as_bytes(), data].concat()
}

#[test]
fn damaged_tensor_files_are_refused_with_the_reason() {
    let [config, tensors] = files("i_tiny_bitnet");
    let refused = |tensors: &[u8]| try_load(&config, tensors).unwrap_err();
    assert!(refused(&[]).contains("model.safetensors"));
    assert!(refused(&tensors[..7]).contains("no header"));
    assert!(refused(&tensors[..tensors.len() - 1]).contains("not fully covered"));
    let mut long = tensors.clone();
    long[7] = 0x7f;
    assert!(refused(&long).contains("a header of"));
    let one = |shape: &str, offsets: &str| {
        format!(r#"{{"a": {{"dtype": "F32", "shape": {shape}, "data_offsets": {offsets}}}}}"#)
    };
    let huge = one("[18446744073709551615, 18446744073709551615]", "[0, 4]");
    assert!(refused(&with_header(&huge, &[0; 4])).contains("overflow"));
    let backwards = one("[1]", "[4, 0]");
    assert!(refused(&with_header(&backwards, &[0; 4])).contains("invalid offset"));
    let outside = one("[2]", "[0, 8]");
    assert!(refused(&with_header(&outside, &[0; 4])).contains("not fully covered"));
    let tensor = r#"{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}"#;
    let twice = format!(r#"{{"a": {tensor}, "a": {tensor}}}"#);
    assert!(refused(&with_header(&twice, &[0; 4])).contains("two tensors are called a"));
    let overlapping = format!(r#"{{"a": {tensor}, "b": {tensor}}}"#);
    assert!(refused(&with_header(&overlapping, &[0; 4])).contains("invalid offset"));
    let deep = format!("{{\"a\": {}", "[".repeat(1 << 20));
    assert!(refused(&with_header(&deep, &[])).contains("model.safetensors"));
    let deep = format!("{{\"rope_scaling\": {}", "[".repeat(1 << 20));
    let error = try_load(deep.as_bytes(), &tensors).unwrap_err();
    assert!(error.contains("recursion limit"), "{error}");
}

#[test]
fn codes_and_scales_that_are_none_are_named() {
    let [config, tensors] = files("i_tiny_bitnet_packed");
    let header = safetensors::SafeTensors::read_metadata(&tensors).unwrap();
    let place = |name: &str| 8 + header.0 + header.1.info(name).unwrap().data_offsets.0;
    let mut wrong = tensors.clone();
    let name = "model.layers.1.mlp.up_proj.weight";
    wrong[place(name) + 5] = 0b1100;
    let scale = "model.layers.0.mlp.up_proj.weight_scale";
    wrong[place(scale)..place(scale) + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let error = try_load(&config, &wrong).unwrap_err();
    assert!(
        error.contains(&format!("{name}: byte 5 has a code")),
        "{error}"
    );
    assert!(
        error.contains(&format!("{scale}: a scale is positive")),
        "{error}"
    );
}

/// Changes some bytes, and truncates the end.
fn mutated(file: Vec<u8>, edits: Vec<(usize, u8)>, keep: f64) -> Vec<u8> {
    let mut file = file;
    // Most of them in the header, where they matter.
    let header = file.len().min(8192);
    for (place, byte) in edits {
        let place = if place % 4 == 0 {
            place % file.len()
        } else {
            place % header
        };
        file[place] = byte;
    }
    let len = if keep > 0.9 {
        file.len()
    } else {
        (file.len() as f64 * keep) as usize
    };
    file.truncate(len);
    file
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn mutated_folders_do_not_panic(
        packed: bool,
        of_config: bool,
        edits in prop::collection::vec((any::<usize>(), any::<u8>()), 0..6),
        keep in 0.0..4.0,
    ) {
        let [config, tensors] = files(["i_tiny_bitnet", "i_tiny_bitnet_packed"][usize::from(packed)]);
        // An index of one file, which is opened before the damage is detected.
        let index = json!({"weight_map": {"model.norm.weight": "model.safetensors"}});
        let index = mutated(index.to_string().into_bytes(), edits.clone(), keep);
        let _ = try_index(&index, &config);
        let _ = match of_config {
            true => try_load(&mutated(config, edits, keep), &tensors),
            false => try_load(&config, &mutated(tensors, edits, keep)),
        };
    }
}
