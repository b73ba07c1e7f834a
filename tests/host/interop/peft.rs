//! Adapter folders: those that peft wrote have its logits, and ours are read back.

use std::fs;

use bitnet_burn::{
    interop::{
        CausalLm,
        hf::{self, LoadOptions},
        peft::{load, save},
    },
    nn::{BitNetLm, Projection},
    peft::{LoraConfig, PeftConfig, TargetModules},
};
use burn::{
    nn::Linear,
    tensor::{Device, Int, Tensor},
};
use safetensors::SafeTensors;

use crate::support::{oracle::data_path, values::*};

fn llama() -> BitNetLm<Linear> {
    let device = Device::default();
    let model = hf::load(data_path("g_tiny_llama"), &LoadOptions::new(), &device).unwrap();
    match model.lm {
        CausalLm::Full(lm) => lm,
        other => panic!("{}", other.form()),
    }
}

/// Tensors of the file of peft's logits.
struct Logits(Vec<u8>);

impl Logits {
    fn open() -> Self {
        Self(fs::read(data_path("g_adapter_io.safetensors")).unwrap())
    }

    fn tokens(&self) -> Tensor<2, Int> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let bytes = file.tensor("input_ids").unwrap().data().chunks_exact(8);
        let tokens: Vec<i64> = bytes
            .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
            .collect();
        Tensor::<1, Int>::from_ints(tokens.as_slice(), &Device::default()).reshape([2, 10])
    }

    fn of(&self, name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let bytes = file.tensor(name).unwrap().data().chunks_exact(4);
        bytes
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }
}

/// Rounding of sums of up to 64 products in 2 layers, on logits of this size.
fn assert_logits<P: Projection>(
    lm: &BitNetLm<P>,
    expected: &[f32],
    tokens: Tensor<2, Int>,
    what: &str,
) {
    let logits = floats(lm.forward(tokens));
    let largest = expected.iter().fold(1.0f32, |a, b| a.max(b.abs()));
    assert_within(
        &logits,
        expected,
        |_| 128.0 * ROUNDING * f64::from(largest),
        what,
    );
}

#[test]
fn folders_of_peft_have_its_logits_and_ours_are_read_back() {
    let expected = Logits::open();
    assert_logits(
        &llama(),
        &expected.of("logits_base"),
        expected.tokens(),
        "base",
    );
    for name in ["lora", "rslora", "dora"] {
        let adapter = load(data_path(&format!("g_adapter_{name}"))).unwrap();
        assert_eq!(adapter.unknown_keys, []);
        let lm = adapter.attach(llama(), "default").unwrap();
        let logits = expected.of(&format!("logits_{name}"));
        assert_ne!(logits, expected.of("logits_base"));
        assert_logits(&lm, &logits, expected.tokens(), name);
        let (merged, _) = lm.clone().merge(None);
        let of_merged = expected.of(&format!("logits_{name}_merged"));
        assert_logits(&merged, &of_merged, expected.tokens(), "merged");

        let folder = tempfile::tempdir().unwrap();
        save(folder.path().join("new"), &lm, "default", &adapter.config).unwrap();
        let again = load(folder.path().join("new")).unwrap();
        assert_eq!(again.config, adapter.config);
        let again = again.attach(llama(), "other").unwrap();
        assert_equal(
            &floats(again.forward(expected.tokens())),
            &floats(lm.forward(expected.tokens())),
            "saved and loaded",
        );
    }
}

#[test]
fn tensors_that_do_not_fit_are_all_named() {
    let mut adapter = load(data_path("g_adapter_lora")).unwrap();
    let PeftConfig::Lora(mut config) = adapter.config else {
        panic!("{}", adapter.config);
    };
    config.rank = 2;
    adapter.config = config.into();
    let error = adapter.attach(llama(), "default").unwrap_err().to_string();
    let first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight: expected shape [2, 32], found [4, 32]";
    assert!(error.contains(first), "{error}");
    assert!(error.contains("more"), "{error}");

    let config = LoraConfig::new(4).with_targets(TargetModules::names(["q_proj"]));
    adapter.config = config.into();
    let error = adapter.attach(llama(), "default").unwrap_err().to_string();
    assert!(error.contains("not part of this architecture"), "{error}");
}

#[test]
fn a_folder_without_an_adapter_and_an_adapter_without_a_name_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let error = load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("adapter_config.json"), "{error}");
    let adapter = load(data_path("g_adapter_lora")).unwrap();
    let lm = adapter.attach(llama(), "default").unwrap();
    let error = save(folder.path(), &lm, "other", &adapter.config)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(r#"no adapter "other"; it has {"default"}"#),
        "{error}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
