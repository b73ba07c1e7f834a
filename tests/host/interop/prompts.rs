//! Folders of prompts: those that peft wrote have its logits and gradients, and ours are read back.

use std::fs;

use bitnet_burn::{
    interop::{
        CausalLm,
        hf::{self, LoadOptions},
        peft::{load, save},
    },
    nn::{BitNetLm, Projection, Prompt},
    peft::{LoraConfig, PTuningConfig, PeftConfig, PrefixTuningConfig, PromptTuningConfig},
};
use burn::{
    nn::Linear,
    tensor::{Device, Int, Tensor},
};
use serde_json::{Value, json};

use crate::support::{
    oracle::{Case, Oracle, data_path},
    values::*,
};

fn llama() -> BitNetLm<Linear> {
    let device = Device::default().autodiff();
    let model = hf::load(data_path("g_tiny_llama"), &LoadOptions::new(), &device).unwrap();
    match model.lm {
        CausalLm::Full(lm) => lm,
        other => panic!("{}", other.form()),
    }
}

/// The configuration of each folder of `prompts.py`, without the sizes of the model.
fn methods() -> [(&'static str, PeftConfig); 4] {
    let prefix = PrefixTuningConfig::new(3);
    [
        ("prefix", prefix.clone().into()),
        ("prefix_projected", prefix.with_projection(Some(6)).into()),
        (
            "p_tuning",
            PTuningConfig::new(3).with_encoder_hidden_size(6).into(),
        ),
        ("prompt_tuning", PromptTuningConfig::new(3).into()),
    ]
}

fn tokens(oracle: &Oracle) -> Tensor<2, Int> {
    let device = Device::default().autodiff();
    oracle.case("base").tokens("input_ids", &device)
}

/// Rounding of sums of up to 64 products in 2 layers, on logits below 1.
fn assert_logits<P: Projection>(lm: &BitNetLm<P>, oracle: &Oracle, case: &str, what: &str) {
    let expected = oracle.case(case).floats("logits");
    let logits = floats(lm.forward(tokens(oracle)));
    assert_within(&logits, &expected, |_| 128.0 * ROUNDING, what);
}

#[test]
fn folders_of_peft_have_its_logits_and_ours_are_read_back() {
    let oracle = Oracle::open("prompts");
    assert_logits(&llama(), &oracle, "base", "base");
    let base = oracle.case("base").floats("logits");
    let mut with_head = PromptTuningConfig::new(3);
    with_head.modules_to_save = vec!["lm_head".to_string()];
    let with_head = [("with_head", with_head.into())];
    for (name, config) in methods().into_iter().chain(with_head) {
        let expected = oracle.case(name).floats("logits");
        assert!(largest_error(&expected, &base) > 1e-2, "{name}");
        let adapter = load(data_path(&format!("prompt_{name}"))).unwrap();
        assert_eq!(adapter.unknown_keys, []);
        assert_eq!(adapter.config.to_string(), config.to_string());
        let lm = adapter.attach(llama(), "default").unwrap();
        assert_logits(&lm, &oracle, name, name);

        let folder = tempfile::tempdir().unwrap();
        save(folder.path().join("new"), &lm, "default", &adapter.config).unwrap();
        let again = load(folder.path().join("new")).unwrap();
        assert_eq!(again.config, adapter.config);
        let again = again.attach(llama(), "other").unwrap();
        assert_equal(
            &floats(again.forward(tokens(&oracle))),
            &floats(lm.forward(tokens(&oracle))),
            "saved and loaded",
        );
    }
}

/// Sets the parameters of a prompt to those of peft.
fn filled(mut prompt: Prompt, case: &Case<'_>) -> Prompt {
    let device = prompt.embedding.device();
    let with = |name: &str| case.tensor::<2>(&format!("parameter.{name}"), &device);
    prompt.embedding = prompt
        .embedding
        .map(|_| with("embedding.weight").require_grad());
    if let Some(encoder) = &mut prompt.encoder {
        let names = ["transform", "mlp_head"];
        let has = |name: &&&str| case.has(&format!("parameter.{name}.0.weight"));
        let name = names.iter().find(has).expect("an encoder");
        for (i, layer) in encoder.layers.iter_mut().enumerate() {
            // Activations are layers of a Sequential.
            let weight = with(&format!("{name}.{}.weight", 2 * i)).transpose();
            let bias = case.tensor::<1>(&format!("parameter.{name}.{}.bias", 2 * i), &device);
            layer.weight = layer.weight.clone().map(|_| weight.detach().require_grad());
            layer.bias = layer.bias.take().map(|b| b.map(|_| bias.require_grad()));
        }
    }
    prompt
}

#[test]
fn encoders_and_gradients_are_those_of_peft() {
    let oracle = Oracle::open("prompts");
    let device = Device::default().autodiff();
    for (name, config) in methods() {
        let case = oracle.case(name);
        let (mut lm, _) = llama().with_adapter("default", config.clone()).unwrap();
        let prompt = lm.model.prompt.take().unwrap();
        lm.model.prompt = Some(filled(prompt, &case));
        assert_logits(&lm, &oracle, name, name);

        let probe = oracle.case("base").tensor::<3>("probe", &device);
        let grads = (lm.forward(tokens(&oracle)) * probe).sum().backward();
        let embedding = &lm.model.prompt.as_ref().unwrap().embedding;
        let grad = floats(embedding.val().grad(&grads).unwrap());
        let expected = case.floats("grad");
        let largest = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        // Sums of 14 tokens, of products of the rounding above with probes of up to 4.
        let bound = 1e-4 * f64::from(largest);
        assert_within(&grad, &expected, |_| bound, &format!("gradient of {name}"));

        // A file holds what the encoder computes.
        let folder = tempfile::tempdir().unwrap();
        save(folder.path().join("new"), &lm, "default", config).unwrap();
        let folded = load(folder.path().join("new")).unwrap();
        let folded = folded.attach(llama(), "default").unwrap();
        let prompt = folded.model.prompt.as_ref().unwrap();
        assert!(prompt.encoder.is_none());
        assert_logits(&folded, &oracle, name, "folded");
    }
}

/// Returns the error of a folder with a key of its configuration replaced.
fn with_key(folder: &str, key: &str, value: Value) -> Result<(), String> {
    let (source, copy) = (data_path(folder), tempfile::tempdir().unwrap());
    let json = fs::read(source.join("adapter_config.json")).unwrap();
    let mut json: Value = serde_json::from_slice(&json).unwrap();
    json[key] = value;
    let tensors = "adapter_model.safetensors";
    fs::copy(source.join(tensors), copy.path().join(tensors)).unwrap();
    fs::write(copy.path().join("adapter_config.json"), json.to_string()).unwrap();
    let attached = load(copy.path()).and_then(|adapter| adapter.attach(llama(), "default"));
    attached.map(drop).map_err(|error| error.to_string())
}

#[test]
fn keys_that_change_the_result_are_refused_by_name() {
    for (folder, key, value, expected) in [
        (
            "prompt_p_tuning",
            "encoder_reparameterization_type",
            json!("LSTM"),
            "encoder_reparameterization_type is LSTM, supported is MLP",
        ),
        (
            "prompt_prefix",
            "num_transformer_submodules",
            json!(2),
            "num_transformer_submodules is 2, supported is 1",
        ),
        (
            "prompt_prefix",
            "token_dim",
            json!(32),
            "token_dim of the prompt is 32, and that of the model 16",
        ),
        (
            "prompt_prompt_tuning",
            "token_dim",
            json!(64),
            "token_dim of the prompt is 64, and that of the model 32",
        ),
        (
            "prompt_prefix",
            "num_virtual_tokens",
            json!(4),
            "prompt_embeddings: expected shape [4, 64], found [3, 64]",
        ),
        (
            "prompt_prefix",
            "init_weights",
            json!("one"),
            "init_weights: unknown variant `one`",
        ),
        (
            "prompt_prefix",
            "num_virtual_tokens",
            Value::Null,
            "num_virtual_tokens is missing",
        ),
        (
            "prompt_prefix",
            "peft_type",
            json!("CPT"),
            "peft_type is CPT, supported is LORA",
        ),
    ] {
        let error = with_key(folder, key, value).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    // Settings of initial values, which are in the file.
    let text = with_key("prompt_prompt_tuning", "prompt_tuning_init", json!("TEXT"));
    assert_eq!(text, Ok(()));
    let dropout = with_key("prompt_p_tuning", "encoder_dropout", json!(0.5));
    assert_eq!(dropout, Ok(()));
}

#[test]
fn a_configuration_of_another_adapter_is_not_written() {
    let (lm, _) = llama()
        .with_adapter("default", PrefixTuningConfig::new(3))
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = |config: PeftConfig| {
        let saved = save(folder.path(), &lm, "default", config);
        saved.unwrap_err().to_string()
    };
    let found = "and the model has a prefix of 3 virtual tokens";
    for (config, expected) in [
        (LoraConfig::new(2).into(), "an adapter of projections"),
        (
            PrefixTuningConfig::new(2).into(),
            "a prefix of 2 virtual tokens",
        ),
        (
            PromptTuningConfig::new(3).into(),
            "a prompt of 3 virtual tokens",
        ),
    ] {
        let error = error(config);
        let expected = format!("the configuration is one of {expected}, {found}");
        assert!(error.contains(&expected), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_model_with_a_prompt_is_not_written_without_it() {
    let device = Device::default().autodiff();
    let path = data_path("g_tiny_llama");
    let mut model = hf::load(path, &LoadOptions::new(), &device).unwrap();
    let CausalLm::Full(lm) = &mut model.lm else {
        panic!("{}", model.lm.form());
    };
    lm.model.prompt = Some(Prompt::input("default", Tensor::zeros([2, 32], &device)));
    let folder = tempfile::tempdir().unwrap();
    let options = hf::SaveOptions::new(hf::WeightForm::Float(burn::tensor::FloatDType::F32));
    let error = hf::save(folder.path().join("new"), &model, &options).unwrap_err();
    let expected = "the model has model.prompt.embedding, which its configuration does not have";
    assert!(error.to_string().contains(expected), "{error}");
}
