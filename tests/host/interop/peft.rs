//! Adapter folders: those that peft wrote have its logits, and ours are read back.

use std::{fs, path::Path};

use bitnet_burn::{
    interop::{
        CausalLm,
        hf::{self, LoadOptions},
        peft::{load, save},
    },
    nn::{BitNetLm, Projection},
    peft::{AdaLoraConfig, AdaptedLinear, Adapter, LoraConfig, PeftConfig, TargetModules},
};
use burn::{
    module::Param,
    nn::{Linear, LinearConfig},
    tensor::{Device, Int, Tensor},
};
use safetensors::SafeTensors;

use crate::support::{
    oracle::{Oracle, data_path},
    values::*,
};

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
    fn open(name: &str) -> Self {
        Self(fs::read(data_path(&format!("{name}.safetensors"))).unwrap())
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
    let expected = Logits::open("g_adapter_io");
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
fn an_adalora_folder_of_peft_has_its_logits_and_ours_is_the_same() {
    let expected = Logits::open("adalora_llama_io");
    let adapter = load(data_path("adalora_llama")).unwrap();
    assert_eq!(adapter.unknown_keys, []);
    let lm = adapter.attach(llama(), "default").unwrap();
    let logits = expected.of("logits_adalora");
    assert_ne!(logits, expected.of("logits_base"));
    assert_logits(&lm, &logits, expected.tokens(), "adalora");
    let (merged, _) = lm.clone().merge(None);
    let of_merged = expected.of("logits_adalora_merged");
    assert_logits(&merged, &of_merged, expected.tokens(), "merged");

    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &lm, "default", &adapter.config).unwrap();
    let again = load(folder.path()).unwrap();
    // With the directions that peft pruned.
    assert_eq!(again.config, adapter.config);
    let model = |path: &Path| fs::read(path.join("adapter_model.safetensors")).unwrap();
    let (ours, peft) = (model(folder.path()), model(&data_path("adalora_llama")));
    let (ours, peft) = (
        SafeTensors::deserialize(&ours).unwrap(),
        SafeTensors::deserialize(&peft).unwrap(),
    );
    assert_eq!(ours.len(), peft.len());
    for (name, tensor) in peft.tensors() {
        assert_eq!(ours.tensor(&name).unwrap(), tensor, "{name}");
    }
}

#[test]
fn an_adalora_adapter_before_its_training_is_written_whole() {
    let config = AdaLoraConfig::new(10)
        .with_ranks(4, 2)
        .with_targets(TargetModules::AllLinear);
    let (lm, _) = llama().with_adapter("default", &config).unwrap();
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &lm, "default", &config).unwrap();
    let again = load(folder.path()).unwrap();
    assert_eq!(again.config, PeftConfig::from(&config));
    let again = again.attach(llama(), "default").unwrap();
    for ((_, read), (name, written)) in again.projections().zip(lm.projections()) {
        let (Adapter::AdaLora(read), Adapter::AdaLora(written)) =
            (&read.adapters[0], &written.adapters[0])
        else {
            panic!("another method");
        };
        assert_equal(&floats(read.a.val()), &floats(written.a.val()), &name);
        assert_equal(&floats(read.b.val()), &floats(written.b.val()), &name);
    }
}

/// Sets the values of all directions of the queries to zero, and those of the values but for the last.
fn pruned(lm: BitNetLm<AdaptedLinear<Linear>>) -> BitNetLm<AdaptedLinear<Linear>> {
    lm.map_projections(|name, mut linear| {
        let e: [f32; 2] = if name.ends_with("q_proj") {
            [0.0; 2]
        } else {
            [0.0, 0.5]
        };
        if let Some(Adapter::AdaLora(adapter)) = linear.adapters.first_mut() {
            let e = Tensor::<1>::from_floats(e, &Device::default());
            adapter.e = Param::from_tensor(e);
        }
        linear
    })
}

#[test]
fn a_module_without_directions_is_read_back() {
    let config = AdaLoraConfig::new(10).with_ranks(2, 1);
    let (lm, _) = llama().with_adapter("default", &config).unwrap();
    let lm = pruned(lm);
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &lm, "default", &config).unwrap();
    let again = load(folder.path()).unwrap();
    let PeftConfig::AdaLora(read) = &again.config else {
        panic!("{}", again.config);
    };
    let kept = |name: &str| &read.rank_pattern[&format!("model.layers.0.self_attn.{name}.lora_E")];
    assert_eq!(kept("q_proj"), &[false, false]);
    assert_eq!(kept("v_proj"), &[false, true]);
    let again = again.attach(llama(), "default").unwrap();
    let tokens = Logits::open("adalora_llama_io").tokens();
    let logits = floats(again.forward(tokens.clone()));
    assert_equal(&logits, &floats(lm.forward(tokens)), "logits");
}

#[test]
fn an_adalora_folder_of_another_model_has_the_deltas_of_peft() {
    let oracle = Oracle::open("h_adalora");
    let (init, last) = (oracle.case("init"), oracle.case("final"));
    let folder = load(data_path("h_adapter_adalora")).unwrap();
    assert_eq!(folder.unknown_keys, []);
    for layer in ["fc1", "fc2", "fc3"] {
        let device = Device::default();
        let weight = init.tensor::<2>(&format!("base.{layer}.weight"), &device);
        let base = Linear {
            weight: Param::from_tensor(weight.transpose()),
            bias: None,
        };
        let linear = folder.attach_projection(layer, base, "default").unwrap();
        let Adapter::AdaLora(adapter) = &linear.adapters[0] else {
            panic!("{}", linear.adapters[0]);
        };
        // The scale remains that of the initial rank.
        assert_eq!((adapter.rank(), adapter.scaling), (6, 16.0 / 6.00001));
        let delta = floats(adapter.delta().transpose());
        let expected = last.floats(&format!("delta.{layer}"));
        // Roundings of three products and a sum of three.
        let largest = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        let bound = 8.0 * ROUNDING * f64::from(largest);
        assert_within(&delta, &expected, |_| bound, layer);
    }
    let base = LinearConfig::new(2, 2).init(&Device::default());
    let error = folder
        .attach_projection("fc1", base, "default")
        .unwrap_err();
    let expected = "base_model.model.fc1.lora_A: expected shape [1, 2], found [1, 12]";
    assert!(error.to_string().contains(expected), "{error}");
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
