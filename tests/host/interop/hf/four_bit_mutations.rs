//! Mutations of folders of 4-bit weights: an error that names the file and the field or tensor, never a panic.

use std::{collections::BTreeSet, fs};

use bitnet_burn::interop::{
    CausalLm,
    hf::{LoadOptions, load},
};
use burn::tensor::Device;
use serde_json::{Map, Value};

use super::four_bit::folder;
use crate::support::{
    damage::{WRONG_TENSORS, damaged, not_finite, raw_file, raw_tensors, wrong_objects},
    values::*,
};

const FOLDERS: [&str; 2] = ["nf4", "fp4"];

/// A folder that is damaged.
struct Whole {
    config: Vec<u8>,
    tensors: Vec<u8>,
    names: BTreeSet<String>,
}

impl Whole {
    fn open(name: &'static str) -> Self {
        let file = |file: &str| fs::read(folder(name).join(file)).unwrap();
        let tensors = file("model.safetensors");
        let names = raw_tensors(&tensors).into_iter().map(|tensor| tensor.name);
        Self {
            config: file("config.json"),
            names: names.collect(),
            tensors,
        }
    }

    /// Loads a folder of these files. An error names the folder or one of them.
    fn load(&self, config: &[u8], tensors: &[u8]) -> Result<CausalLm, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), config).unwrap();
        fs::write(folder.path().join("model.safetensors"), tensors).unwrap();
        let loaded = load(folder.path(), &LoadOptions::new(), &Device::default());
        loaded.map(|model| model.lm).map_err(|error| {
            let error = error.to_string();
            assert!(
                error.starts_with(folder.path().to_str().unwrap()),
                "{error}"
            );
            error
        })
    }

    /// Returns whether a message names a tensor of the model.
    fn names_tensor(&self, message: &str) -> bool {
        self.names
            .iter()
            .any(|name| message.contains(name.as_str()))
            || message.contains("_proj.")
    }
}

/// Returns the codes of the first projection.
fn codes(lm: &CausalLm) -> Option<Vec<u8>> {
    match lm {
        CausalLm::FourBit(lm) => lm
            .projections()
            .next()
            .map(|(_, p)| p.weight.to_bytes().unwrap()),
        _ => None,
    }
}

#[test]
fn a_wrong_value_of_the_quantization_is_an_error_that_names_its_key_or_a_tensor() {
    if !on_flex() {
        return;
    }
    for name in FOLDERS {
        let whole = Whole::open(name);
        let codes_of_whole = codes(&whole.load(&whole.config, &whole.tensors).unwrap());
        let mut config: Map<String, Value> = serde_json::from_slice(&whole.config).unwrap();
        let quantization = config["quantization_config"].as_object().unwrap().clone();
        let marker = "\u{1f40d}";
        config.insert("quantization_config".to_string(), marker.into());
        let around = Value::Object(config).to_string();
        let wrong = wrong_objects(&quantization);
        assert!(wrong.len() >= 200, "{}", wrong.len());
        for (key, text) in wrong {
            let text = around.replace(&format!("\"{marker}\""), &text);
            match whole.load(text.as_bytes(), &whole.tensors) {
                Err(message) => {
                    let is_named = message.contains(&key) || whole.names_tensor(&message);
                    assert!(is_named, "{name}, {key}: {message}\n{text}");
                }
                Ok(lm) => assert_eq!(codes(&lm), codes_of_whole, "{name}, {key}: {text}"),
            }
        }
    }
}

#[test]
fn a_wrong_value_of_the_model_is_an_error_that_names_its_key_or_a_tensor() {
    if !on_flex() {
        return;
    }
    let whole = Whole::open("nf4");
    let config: Map<String, Value> = serde_json::from_slice(&whole.config).unwrap();
    for (key, text) in wrong_objects(&config) {
        let related: &[&str] = match &*key {
            "architectures" | "model_type" => &["architectures", "model_type", "this architecture"],
            "head_dim" | "num_attention_heads" => &[
                "hidden_size",
                "num_key_value_heads",
                // The table of angles.
                "max_position_embeddings",
            ],
            "rope_parameters" => &["rotary"],
            _ => &[],
        };
        if let Err(message) = whole.load(text.as_bytes(), &whole.tensors) {
            let is_named = message.contains(&key)
                || related.iter().any(|key| message.contains(key))
                || whole.names_tensor(&message);
            assert!(is_named, "{key}: {message}\n{text}");
        }
    }
}

#[test]
fn a_wrong_tensor_is_an_error_that_names_it() {
    if !on_flex() {
        return;
    }
    let whole = Whole::open("nf4");
    let tensors = raw_tensors(&whole.tensors);
    let mut number = 0;
    for (at, tensor) in tensors.iter().enumerate() {
        // The tensors of a weight of each layer, and those beside them.
        let parts = ["q_proj", "down_proj", "norm", "embed_tokens", "lm_head"];
        if !parts.iter().any(|part| tensor.name.contains(part)) {
            continue;
        }
        let wrong = WRONG_TENSORS.iter().map(|(what, change)| {
            let mut tensors = tensors.clone();
            change(&mut tensors, at);
            (what.to_string(), raw_file(&tensors))
        });
        let values: &[f32] = match tensor.dtype == "F32" {
            true => &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY],
            false => &[],
        };
        let values = values
            .iter()
            .map(|value| (value.to_string(), not_finite(&tensors, at, *value)));
        let other = &tensors[(at + 1) % tensors.len()].name;
        for (what, file) in wrong.chain(values) {
            number += 1;
            let error = whole.load(&whole.config, &file).err();
            // The text of a state may have any shape.
            let is_state = tensor.name.contains("quant_state")
                && ["flat", "of another rank"].contains(&&*what);
            let Some(error) = error else {
                assert!(is_state, "{} {what}", tensor.name);
                continue;
            };
            let is_other = what == "under the name of another";
            let name = if is_other { other } else { &tensor.name };
            // A weight whose state is not there is named itself.
            let weight = name.split(".quant_state").next().unwrap();
            assert!(error.contains(weight), "{} {what}: {error}", tensor.name);
        }
    }
    assert!(number >= 200, "{number}");
}

#[test]
fn changed_bytes_are_an_error_or_a_model() {
    if !on_flex() {
        return;
    }
    let mut loaded_copies = 0;
    for name in FOLDERS {
        let whole = Whole::open(name);
        let header = u64::from_le_bytes(whole.tensors[..8].try_into().unwrap()) as usize + 8;
        for seed in 0..200 {
            let (tensors, flips) = damaged(&whole.tensors, header, seed);
            if let Ok(lm) = whole.load(&whole.config, &tensors) {
                loaded_copies += 1;
                assert!(
                    flips.is_some() && codes(&lm).is_some(),
                    "{name}, seed {seed}"
                );
            }
            let (config, _) = damaged(&whole.config, whole.config.len(), seed);
            let _ = whole.load(&config, &whole.tensors);
        }
    }
    assert!(loaded_copies > 10, "{loaded_copies}");
}
