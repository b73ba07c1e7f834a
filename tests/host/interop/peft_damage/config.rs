//! Configurations with wrong values, without keys, and with keys of other methods.

use serde_json::{Map, Value, json};

use super::{FOLDERS, Whole};
use crate::support::{damage::wrong_objects, values::on_flex};

/// Keys that a folder may have with another valid value: it is another adapter then, of the same tensors.
const FREE: [&str; 24] = [
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "alpha_pattern",
    "rank_pattern",
    "init_lora_weights",
    "bias",
    "modules_to_save",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "target_r",
    "tinit",
    "tfinal",
    "deltaT",
    "beta1",
    "beta2",
    "orth_reg_weight",
    "total_step",
    "prefix_projection",
    "encoder_hidden_size",
    "init_weights",
    "init_ia3_weights",
    "prompt_tuning_init",
];

/// Sizes of the model, which a folder may leave to it.
const SIZES: [&str; 3] = ["token_dim", "num_layers", "num_attention_heads"];

fn object(text: &[u8]) -> Map<String, Value> {
    serde_json::from_slice(text).unwrap()
}

/// Returns whether a message says what is wrong with a key: by its name, or that of a tensor or of a key that is to be
/// with it.
fn names(whole: &Whole, key: &str, message: &str) -> bool {
    let related: &[&str] = match key {
        // Of the methods that the others have keys of.
        "peft_type" => &["total_step", "feedforward_modules", "num_virtual_tokens"],
        "use_dora" => &["DoRA"],
        "r" => &["the rank of"],
        "target_modules" => &["feedforward_modules"],
        _ => &[],
    };
    message.contains(key)
        || related.iter().any(|key| message.contains(key))
        || whole.names_tensor(message)
}

#[test]
fn a_wrong_value_is_an_error_that_names_its_key_or_changes_what_it_says_alone() {
    if !on_flex() {
        return;
    }
    for folder in FOLDERS {
        let whole = Whole::open(folder);
        let wrong = wrong_objects(&object(&whole.config));
        assert!(wrong.len() >= 200, "{}: {}", whole.name, wrong.len());
        for (key, text) in wrong {
            let what = format!("{}, {key} of {text}", whole.name);
            match whole.load(Some(text.as_bytes()), Some(&whole.tensors)) {
                Err(message) => assert!(names(&whole, &key, &message), "{message}\n{what}"),
                Ok(loaded) => {
                    assert_eq!(whole.num_changed(&loaded), 0, "{what}");
                    let is_free = FREE.contains(&key.as_str()) || SIZES.contains(&key.as_str());
                    assert!(loaded.adapter.config == whole.read || is_free, "{what}");
                    loaded.adapter.config.validate().unwrap();
                }
            }
        }
    }
}

#[test]
fn a_key_that_changes_the_computation_is_refused_or_listed() {
    if !on_flex() {
        return;
    }
    for folder in FOLDERS {
        let whole = Whole::open(folder);
        for (key, value) in [
            ("alora_invocation_tokens", json!([1, 2])),
            ("arrow_config", json!({"top_k": 2})),
            ("fan_in_fan_out", json!(true)),
            ("kasa_config", json!({"rank": 2})),
            ("layer_replication", json!([[0, 1]])),
            ("lora_bias", json!(true)),
            ("target_parameters", json!(["q_proj.weight"])),
            ("trainable_token_indices", json!([1])),
            ("use_bdlora", json!({"nblocks": 2})),
            ("use_dora", json!(true)),
            ("use_qalora", json!(true)),
            ("velora_config", json!({"rank": 1})),
            ("gain", json!(2.0)),
        ] {
            let mut config = object(&whole.config);
            if key == "use_dora" && config.get(key) == Some(&value) {
                continue;
            }
            config.insert(key.to_string(), value);
            let text = Value::Object(config).to_string();
            match whole.load(Some(text.as_bytes()), Some(&whole.tensors)) {
                Err(message) => assert!(names(&whole, key, &message), "{message}"),
                Ok(loaded) => {
                    let mut unknown = loaded.adapter.unknown_keys.iter();
                    assert!(
                        unknown.any(|unknown| unknown.key == key),
                        "{}: {key}",
                        whole.name
                    );
                }
            }
        }
    }
}
