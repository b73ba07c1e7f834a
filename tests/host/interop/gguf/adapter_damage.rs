//! Damaged adapters of llama.cpp: an error that names the file and the key or tensor, never a panic.

use std::{fs, path::PathBuf};

use bitnet_burn::{
    interop::{
        gguf::{
            GgmlType, GgufMetadata, GgufShape, GgufValue, SaveOptions, load_adapter, save_adapter,
        },
        peft::AdapterFolder,
    },
    nn::{BitNetLm, BitNetLmConfig},
    peft::{LoraConfig, PeftConfig, TargetModules},
};
use burn::{module::Module, nn::Linear, tensor::Device};
use tempfile::TempDir;

use super::parts::Parts;
use crate::support::{damage::damaged, values::*};

/// Name, shape and bytes of a tensor.
type Part = (String, GgufShape, Vec<u8>);

/// An adapter in a file, and its model.
struct Whole {
    _folder: TempDir,
    path: PathBuf,
    bytes: Vec<u8>,
    parts: Parts,
    model: BitNetLmConfig,
    lm: BitNetLm<Linear>,
    config: PeftConfig,
    values: Vec<Vec<u8>>,
}

impl Whole {
    fn new() -> Self {
        let model = super::models::config(false);
        let lora = LoraConfig::new(2).with_targets(TargetModules::AllLinear);
        let lm: BitNetLm<Linear> = model.init(&Device::default());
        let (adapted, _) = lm.clone().with_adapter("default", &lora).unwrap();
        let adapted = adapted.map(&mut Drawn::new(3, 0.2));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("adapter.gguf");
        let options = SaveOptions::new(GgmlType::F16);
        save_adapter(&path, &adapted, &model, "default", &lora, &options).unwrap();
        let adapter = load_adapter(&path, &model).unwrap();
        Self {
            bytes: fs::read(&path).unwrap(),
            parts: Parts::of(&path),
            config: adapter.config.clone(),
            values: values(&adapter, &lm).unwrap(),
            _folder: folder,
            path,
            model,
            lm,
        }
    }

    /// Reads bytes and attaches the adapter. An error names the file.
    fn load(&self, bytes: &[u8]) -> Result<(PeftConfig, Vec<Vec<u8>>), String> {
        fs::write(&self.path, bytes).unwrap();
        let loaded = load_adapter(&self.path, &self.model).map_err(|error| error.to_string());
        let loaded = loaded.and_then(|a| Ok((a.config.clone(), values(&a, &self.lm)?)));
        if let Err(error) = &loaded {
            assert!(error.starts_with(self.path.to_str().unwrap()), "{error}");
        }
        loaded
    }

    /// Reads changed parts.
    fn with(&self, change: impl FnOnce(&mut Parts)) -> Result<(PeftConfig, Vec<Vec<u8>>), String> {
        let mut parts = self.parts.clone();
        change(&mut parts);
        parts.write(&self.path);
        self.load(&fs::read(&self.path).unwrap())
    }
}

/// Returns the factors of all projections.
fn values(adapter: &AdapterFolder, lm: &BitNetLm<Linear>) -> Result<Vec<Vec<u8>>, String> {
    let lm = adapter.attach(lm.clone(), "default");
    let lm = lm.map_err(|error| error.to_string())?;
    let projections = lm.projections().flat_map(|(_, linear)| {
        let adapters = linear.adapters.iter();
        let loras = adapters.flat_map(|adapter| match adapter {
            bitnet_burn::peft::Adapter::Lora(lora) => [lora.a.val(), lora.b.val()],
            other => panic!("{other}"),
        });
        let bytes = loras.map(|factor| factor.into_data().as_bytes().to_vec());
        bytes.collect::<Vec<_>>()
    });
    Ok(projections.collect())
}

/// Values that a key may have by mistake.
fn wrong_values() -> Vec<GgufValue> {
    vec![
        true.into(),
        0u32.into(),
        (-1i32).into(),
        u64::MAX.into(),
        0f32.into(),
        (-8f32).into(),
        f32::NAN.into(),
        f32::INFINITY.into(),
        1e300f64.into(),
        "".into(),
        "x".into(),
        vec![1u32, 2].into(),
        vec!["lora".to_string()].into(),
    ]
}

#[test]
fn a_wrong_value_of_a_key_is_an_error_that_names_it() {
    if !on_flex() {
        return;
    }
    let whole = Whole::new();
    let keys = ["general.type", "adapter.type", "general.architecture"];
    let read = [&keys[..], &["adapter.lora.alpha"]].concat();
    let mut refused = 0;
    for key in whole.parts.metadata.iter().map(|(key, _)| key.to_string()) {
        for value in wrong_values() {
            let what = format!("{key} = {value:?}");
            let loaded = whole.with(|parts| drop(parts.metadata.replace(&*key, value).unwrap()));
            match loaded {
                Err(error) => {
                    refused += 1;
                    assert!(error.contains(&key), "{what}: {error}");
                }
                // Another alpha, or a key that says nothing of the adapter.
                Ok((config, values)) => {
                    assert!(!keys.contains(&&*key), "{what}");
                    assert!(
                        config == whole.config || key == "adapter.lora.alpha",
                        "{what}"
                    );
                    assert_eq!(values, whole.values, "{what}");
                }
            }
        }
    }
    assert!(refused >= 3 * 12, "{refused}");
    for key in read {
        let mut metadata = GgufMetadata::new();
        for (name, value) in whole.parts.metadata.iter().filter(|(name, _)| *name != key) {
            metadata.insert(name, value.clone()).unwrap();
        }
        match whole.with(|parts| parts.metadata = metadata) {
            Err(error) => assert!(error.contains(key), "{error}"),
            Ok((config, _)) => assert!(key == "adapter.lora.alpha" && config != whole.config),
        }
    }
}

/// Returns the bytes of a file with another name of the same length in the place of a tensor's.
fn renamed(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let at = (bytes.windows(from.len())).position(|window| window == from.as_bytes());
    let mut bytes = bytes.to_vec();
    bytes[at.unwrap()..][..from.len()].copy_from_slice(to.as_bytes());
    bytes
}

/// Returns the bytes of a file with another first size, or another type, of a tensor.
fn with_info(bytes: &[u8], name: &str, offset: usize, value: u64, size: usize) -> Vec<u8> {
    let at = bytes
        .windows(name.len())
        .position(|window| window == name.as_bytes());
    let mut bytes = bytes.to_vec();
    let at = at.unwrap() + name.len() + offset;
    bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
    bytes
}

#[test]
fn a_wrong_tensor_is_an_error_that_names_it() {
    if !on_flex() {
        return;
    }
    let whole = Whole::new();
    let mut number = 0;
    for (at, (name, shape, bytes)) in whole.parts.tensors.iter().enumerate() {
        let [rows, row_len] = [shape.rows(), shape.row_len()];
        let of = |sizes: &[u64]| GgufShape::from_ggml(sizes).unwrap();
        let with = |change: &dyn Fn(&mut Part)| whole.with(|parts| change(&mut parts.tensors[at]));
        let value =
            |value: f32| with(&|tensor| tensor.2[4..8].copy_from_slice(&value.to_le_bytes()));
        // Behind the name: the number of dimensions, each of them, the type, the offset.
        let info =
            |offset, value, size| whole.load(&with_info(&whole.bytes, name, offset, value, size));
        let other = match name.strip_suffix("lora_a") {
            Some(weight) => format!("{weight}lora_b"),
            None => name.replace("lora_b", "lora_a"),
        };
        for (what, loaded) in [
            (
                "missing",
                whole.with(|parts| drop(parts.tensors.remove(at))),
            ),
            ("renamed", with(&|tensor| tensor.0.push('x'))),
            (
                "no factor",
                with(&|tensor| tensor.0 = name.replace("lora", "loha")),
            ),
            ("flat", with(&|tensor| tensor.1 = of(&[rows * row_len]))),
            (
                "turned",
                with(&|tensor| tensor.1 = of(&[rows * 2, row_len / 2])),
            ),
            (
                "a row longer",
                with(&|tensor| {
                    tensor.1 = of(&[row_len, rows + 1]);
                    tensor.2 = [&bytes[..], &bytes[..4 * row_len as usize]].concat();
                }),
            ),
            ("NaN", value(f32::NAN)),
            ("infinite", value(f32::INFINITY)),
            ("minus infinite", value(f32::NEG_INFINITY)),
            ("twice", whole.load(&renamed(&whole.bytes, name, &other))),
            ("without dimensions", info(0, 0, 4)),
            ("of 5 dimensions", info(0, 5, 4)),
            ("of no rows", info(4, 0, 8)),
            ("huge", info(4, 1 << 40, 8)),
            ("of the largest size", info(4, u64::MAX, 8)),
            ("of integers", info(20, 26, 4)),
            ("of no type", info(20, 999, 4)),
            ("elsewhere", info(24, 1 << 50, 8)),
            ("not aligned", info(24, 33, 8)),
        ] {
            number += 1;
            let error = loaded.err().unwrap_or_else(|| panic!("{name} {what}"));
            let is_named = error.contains(name.as_str())
                || ["twice", "a row longer"].contains(&what) && error.contains(&other);
            assert!(is_named, "{name} {what}: {error}");
        }
    }
    assert!(number >= 200, "{number}");
}

#[test]
fn changed_bytes_are_an_error_or_change_as_many_values() {
    if !on_flex() {
        return;
    }
    let whole = Whole::new();
    let data: usize = whole
        .parts
        .tensors
        .iter()
        .map(|(_, _, bytes)| bytes.len())
        .sum();
    let header = whole.bytes.len() - data;
    let mut loaded_copies = 0;
    for seed in 0..300 {
        let (bytes, flips) = damaged(&whole.bytes, header, seed);
        let Ok((config, values)) = whole.load(&bytes) else {
            continue;
        };
        loaded_copies += 1;
        let [old, new] = [&whole.values, &values].map(|values| values.concat());
        if config == whole.config {
            let changed = old
                .chunks(4)
                .zip(new.chunks(4))
                .filter(|(old, new)| old != new);
            // Bytes behind the last tensor are none of it.
            assert!(changed.count() <= flips.unwrap_or(0), "seed {seed}");
        }
        config.validate().unwrap();
    }
    assert!(loaded_copies > 10, "{loaded_copies}");
}
