//! Sizes and positions of a configuration.

use bitnet_burn::interop::{
    CausalLm,
    hf::{Family, LoadOptions, SaveOptions, load},
};
use burn::tensor::Device;
use serde_json::{Value, json};

use super::models::*;
use crate::support::values::*;

#[test]
fn a_head_of_a_size_without_weights_is_refused_before_it_takes_memory() {
    let config = base();
    let (folder, _) = again(
        &model(&config, CausalLm::Full(full(&config))),
        SaveOptions::new(F32),
    );
    edit(folder.path(), "config.json", |json| {
        json["head_dim"] = json!(1_u64 << 40);
    });
    let error = load_error(folder.path()).to_string();
    assert!(error.contains("whose table takes"), "{error}");
}

#[test]
fn windows_and_long_positions_are_loaded_as_far_as_they_are_the_same() {
    let config = base();
    let (folder, _) = again(
        &model(&config, CausalLm::Full(full(&config))),
        SaveOptions::new(F32).with_family(Some(Family::Mistral)),
    );
    let expected = json_of(folder.path(), "config.json");
    assert_eq!(expected["sliding_window"], Value::Null);
    edit(folder.path(), "config.json", |json| {
        json["sliding_window"] = json!(12)
    });
    let error = load_error(folder.path()).to_string();
    assert!(error.contains("sliding_window is 12"), "{error}");
    let options = LoadOptions::new().with_max_positions(Some(12));
    load(folder.path(), &options, &Device::default()).unwrap();

    edit(folder.path(), "config.json", |json| {
        json["sliding_window"] = json!(16);
        json["rope_scaling"] = json!({"rope_type": "longrope", "short_factor": [1, 1, 1, 1],
            "long_factor": [2, 2, 2, 2], "original_max_position_embeddings": 8});
    });
    let error = load_error(folder.path()).to_string();
    assert!(
        error.contains("original_max_positions, 8, got 16"),
        "{error}"
    );
    let options = LoadOptions::new().with_max_positions(Some(8));
    let loaded = load(folder.path(), &options, &Device::default()).unwrap();
    // The factor is that of the positions of the file.
    let factor = (1.0 + 2f64.ln() / 8f64.ln()).sqrt();
    let scaling = loaded.config.rope_scaling.as_ref().unwrap();
    assert_eq!(scaling.attention_factor(), factor);
    let (_folder, once_more) = again(&loaded, SaveOptions::new(F32));
    assert_equal(&logits(&once_more), &logits(&loaded), "longrope");
}

#[test]
fn sizes_without_weights_to_match_are_refused_before_they_take_memory() {
    let device = Device::default();
    let model = trained(config(true, true));
    for (field, size, message) in [
        (
            "num_hidden_layers",
            1_000_000_000_000_u64,
            "and the files have 24 tensors",
        ),
        (
            "max_position_embeddings",
            1 << 50,
            "set LoadOptions::with_max_positions",
        ),
    ] {
        let (folder, _) = again(&model, SaveOptions::new(F32));
        edit(folder.path(), "config.json", |json| {
            json[field] = json!(size)
        });
        let error = load(folder.path(), &LoadOptions::new(), &device).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        if field == "max_position_embeddings" {
            let options = LoadOptions::new().with_max_positions(Some(16));
            load(folder.path(), &options, &device).unwrap();
        }
    }
}
