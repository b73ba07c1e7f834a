//! Tensors that are not as the configuration says.

use std::fs;

use bitnet_burn::interop::{
    CausalLm,
    hf::{HfError, LoadOptions, SaveOptions, load, save},
};
use burn::tensor::Device;
use serde_json::{Value, json};

use super::models::*;

/// Returns everything that is wrong with tensors.
fn problems(error: HfError) -> Vec<String> {
    match error {
        HfError::Tensors { problems, .. } => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other}"),
    }
}

#[test]
fn names_of_other_programs_are_refused_in_a_line() {
    let config = base();
    let (folder, _) = again(
        &model(&config, CausalLm::Full(full(&config))),
        SaveOptions::new(F32),
    );
    let path = folder.path().join("model.safetensors");
    let file = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(file[8..8 + length].to_vec()).unwrap();
    for (prefix, found) in [
        ("\"", "found embed_tokens.weight"),
        ("\"transformer.", "found lm_head"),
    ] {
        let header = header.replace("\"model.", prefix);
        let bytes = [
            &(header.len() as u64).to_le_bytes()[..],
            header.as_bytes(),
            &file[8 + length..],
        ];
        fs::write(&path, bytes.concat()).unwrap();
        let error = load_error(folder.path()).to_string();
        assert!(
            error.contains("no tensor has a name of this architecture"),
            "{error}"
        );
        assert!(
            error.contains(found) && error.lines().count() == 1,
            "{error}"
        );
    }
}

#[test]
fn an_error_of_many_tensors_is_one_line() {
    let config = base();
    let (folder, _) = again(
        &model(&config, CausalLm::Full(full(&config))),
        SaveOptions::new(F32),
    );
    edit(folder.path(), "config.json", |json| {
        json["attention_bias"] = json!(true)
    });
    let error = load_error(folder.path());
    let text = error.to_string();
    assert!(
        text.ends_with("; and 5 more") && text.lines().count() == 1,
        "{text}"
    );
    assert!(
        text.contains("8 tensors are not as the configuration says"),
        "{text}"
    );
    let HfError::Tensors { problems, .. } = error else {
        panic!("{text}")
    };
    assert_eq!(problems.len(), 8);
}

#[test]
fn everything_wrong_with_the_tensors_is_in_one_error() {
    let device = Device::default();
    let model = trained(config(true, true));
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &model, &SaveOptions::new(F32)).unwrap();
    edit(folder.path(), "config.json", |json| {
        json["intermediate_size"] = json!(64);
        json["num_hidden_layers"] = json!(1);
        json["tie_word_embeddings"] = json!(false);
    });
    let error = load(folder.path(), &LoadOptions::new(), &device).unwrap_err();
    let text = error.to_string();
    let problems = problems(error);
    for problem in [
        "lm_head.weight: missing, expected [32, 32]",
        "model.layers.0.mlp.down_proj.weight: expected shape [32, 64], found [32, 48]",
        "model.layers.1.input_layernorm.weight: not part of this architecture",
    ] {
        assert!(problems.iter().any(|found| found == problem), "{problem}");
    }
    // Three projections and a norm of the wrong size, a layer of 11 tensors too many, no head.
    assert_eq!(problems.len(), 4 + 11 + 1, "{text}");
    assert!(
        text.contains("16 tensors are not as the configuration says"),
        "{text}"
    );
}

#[test]
fn tensors_of_another_type_are_named() {
    let device = Device::default();
    let (folder, _) = again(&trained(config(true, true)), SaveOptions::new(F32));
    let path = folder.path().join("model.safetensors");
    let file = fs::read(&path).unwrap();
    let (length, header) = safetensors::SafeTensors::read_metadata(&file).unwrap();
    let norm = header.info("model.norm.weight").unwrap();
    // As many bytes, of integers.
    let mut header = String::from_utf8(file[8..8 + length].to_vec()).unwrap();
    let shape = format!("{:?}", norm.shape).replace(' ', "");
    let name = "\"model.norm.weight\":{\"dtype\":\"";
    header = header.replace(
        &format!("{name}F32\",\"shape\":{shape}"),
        &format!("{name}I32\",\"shape\":{shape}"),
    );
    let bytes = [&file[..8], header.as_bytes(), &file[8 + length..]].concat();
    fs::write(&path, bytes).unwrap();
    let error = load(folder.path(), &LoadOptions::new(), &device).unwrap_err();
    assert_eq!(
        problems(error),
        ["model.norm.weight: expected F32, F16 or BF16, found I32"]
    );
}

#[test]
fn a_shard_that_lacks_its_tensors_and_one_outside_of_the_folder_are_refused() {
    let device = Device::default();
    let model = trained(config(true, true));
    let options = SaveOptions::new(F32).with_max_shard_bytes(20_000);
    let (folder, _) = again(&model, options);
    const INDEX: &str = "model.safetensors.index.json";
    let of_shard = |shard: &str| {
        let shard = shard.to_string();
        move |json: &mut Value| json["weight_map"]["model.norm.weight"] = json!(shard)
    };
    let index = fs::read(folder.path().join(INDEX)).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let files = index["weight_map"].as_object().unwrap().values();
    let last = files.filter_map(Value::as_str).max().unwrap();
    edit(folder.path(), INDEX, of_shard(last));
    let error = load(folder.path(), &LoadOptions::new(), &device).unwrap_err();
    assert!(error.to_string().contains("model.norm.weight"), "{error}");
    edit(folder.path(), INDEX, of_shard("../model.safetensors"));
    let error = load(folder.path(), &LoadOptions::new(), &device).unwrap_err();
    assert!(
        error.to_string().contains("is no file of the folder"),
        "{error}"
    );
}
