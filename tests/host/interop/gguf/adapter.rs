//! LoRA adapters of llama.cpp: what is written is read back, and what llama.cpp does not compute is refused.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm,
        gguf::{
            GgmlType, GgufReader, GgufShape, GgufValue, SaveOptions, load_adapter, save_adapter,
        },
        hf, peft,
    },
    nn::{BitNetLm, BitNetLmConfig},
    peft::{
        AdaLoraConfig, AdaptedLinear, BitFitConfig, Ia3Config, LoraBias, LoraConfig, PeftConfig,
        PromptTuningConfig, TargetModules,
    },
};
use burn::{
    module::Module,
    nn::Linear,
    tensor::{Device, Int, Tensor},
};
use safetensors::SafeTensors;
use tempfile::TempDir;

use super::parts::Parts;
use crate::support::{oracle::data_path, values::*};

fn llama() -> (BitNetLmConfig, BitNetLm<Linear>) {
    let options = hf::LoadOptions::new();
    let PretrainedLm { config, lm, .. } =
        hf::load(data_path("g_tiny_llama"), &options, &Device::default()).unwrap();
    match lm {
        CausalLm::Full(lm) => (config, lm),
        other => panic!("{}", other.form()),
    }
}

fn options() -> SaveOptions {
    SaveOptions::new(GgmlType::F16)
}

fn logits(lm: &BitNetLm<AdaptedLinear<Linear>>) -> Vec<f32> {
    let tokens = Tensor::<2, Int>::from_ints([[5, 3, 17, 9, 0, 31, 2, 8]], &Device::default());
    floats(lm.forward(tokens))
}

/// Asserts logits but for rounding: factors are added in another order in another layout.
fn assert_near(logits: &[f32], expected: &[f32]) {
    let largest = expected.iter().fold(1.0f32, |a, b| a.max(b.abs()));
    // Sums of up to 64 products in 2 layers, on logits of this size.
    let bound = 128.0 * ROUNDING * f64::from(largest);
    assert_within(logits, expected, |_| bound, "logits");
}

/// Adds an adapter, and draws all values.
fn adapted(config: &LoraConfig) -> (BitNetLmConfig, BitNetLm<AdaptedLinear<Linear>>) {
    let (model, lm) = llama();
    let (lm, _) = lm.with_adapter("default", config).unwrap();
    (model, lm.map(&mut Drawn::new(40, 0.2)))
}

/// Writes an adapter into a new file.
fn written(
    model: &BitNetLmConfig,
    lm: &BitNetLm<AdaptedLinear<Linear>>,
    config: &LoraConfig,
) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter.gguf");
    save_adapter(&path, lm, model, "default", config, &options()).unwrap();
    (folder, path)
}

/// Returns the tensors of an adapter folder.
fn tensors(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let file = fs::read(folder.join("adapter_model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let tensors = file.tensors().into_iter();
    tensors
        .map(|(name, view)| (name, view.data().to_vec()))
        .collect()
}

#[test]
fn adapters_of_peft_come_back_from_a_file_of_llama_cpp() {
    for (name, alpha) in [("g_adapter_lora", 8f32), ("g_adapter_rslora", 16.0)] {
        let theirs = data_path(name);
        let (model, lm) = llama();
        let folder = peft::load(&theirs).unwrap();
        let lm = folder.attach(lm, "default").unwrap();
        let new = tempfile::tempdir().unwrap();
        let path = new.path().join("adapter.gguf");
        save_adapter(&path, &lm, &model, "default", &folder.config, &options()).unwrap();

        let reader = GgufReader::open(&path).unwrap();
        for (key, value) in [
            ("general.type", GgufValue::from("adapter")),
            ("general.architecture", "llama".into()),
            ("adapter.type", "lora".into()),
            // llama.cpp divides it by the rank, 4; rsLoRA by its root.
            ("adapter.lora.alpha", alpha.into()),
        ] {
            assert_eq!(reader.metadata().get(key), Some(&value), "{key}");
        }

        let adapter = load_adapter(&path, &model).unwrap();
        let config = LoraConfig::new(4)
            .with_alpha(f64::from(alpha))
            .with_targets(TargetModules::names(["down_proj", "q_proj", "v_proj"]));
        assert_eq!(adapter.config, config.into(), "{name}");
        let again = adapter.attach(llama().1, "other").unwrap();
        assert_equal(&logits(&again), &logits(&lm), name);
        // And from there into a folder of peft, with the bytes that peft wrote.
        peft::save(new.path(), &again, "other", &adapter.config).unwrap();
        assert!(tensors(new.path()) == tensors(&theirs), "{name}");
    }
}

#[test]
fn rows_of_rotated_heads_are_in_the_order_of_the_weight() {
    let config = LoraConfig::new(2).with_targets(TargetModules::AllLinear);
    let (model, lm) = adapted(&config);
    let (_folder, path) = written(&model, &lm, &config);
    let reader = GgufReader::open(&path).unwrap();
    assert_eq!(reader.tensors().len(), 2 * 7 * 2);
    for (module, gguf, rotated) in [
        ("model.layers.1.self_attn.q_proj", "blk.1.attn_q", true),
        ("model.layers.1.self_attn.k_proj", "blk.1.attn_k", true),
        ("model.layers.1.self_attn.v_proj", "blk.1.attn_v", false),
        ("model.layers.0.mlp.down_proj", "blk.0.ffn_down", false),
    ] {
        let mut projections = lm.projections();
        let (_, linear) = projections.find(|(name, _)| name == module).unwrap();
        let Some(bitnet_burn::peft::Adapter::Lora(lora)) = linear.adapter("default") else {
            panic!("{module} has no LoRA adapter")
        };
        let factor = |name: &str| {
            let tensor = reader.tensor(&format!("{gguf}.weight.{name}")).unwrap();
            (tensor.shape().row_major(), tensor.decode().unwrap())
        };
        let [d_input, d_output] = [lora.a.shape()[0], lora.b.shape()[1]];
        let (shape, a) = factor("lora_a");
        assert_eq!(shape, [2, d_input]);
        assert_equal(&a, &floats(lora.a.val().transpose()), gguf);
        let (shape, b) = factor("lora_b");
        assert_eq!(shape, [d_output, 2]);
        // Heads have 8 rows, of which llama.cpp rotates neighbors, and others the halves.
        let ours = floats(lora.b.val().transpose());
        let row = |row: usize| match rotated {
            true => row / 8 * 8 + row % 2 * 4 + row % 8 / 2,
            false => row,
        };
        let rows = (0..d_output).map(row);
        let expected: Vec<f32> = rows
            .flat_map(|row| ours[2 * row..2 * row + 2].to_vec())
            .collect();
        assert_equal(&b, &expected, gguf);
    }
}

#[test]
fn modules_and_ranks_are_those_of_the_tensors() {
    let mut config = LoraConfig::new(3).with_alpha(6.0);
    config.targets.target_modules = TargetModules::names(["q_proj", "up_proj"]);
    config.targets.layers_to_transform = Some(vec![1]);
    config.rank_pattern.insert("up_proj".to_string(), 1);
    let (model, lm) = adapted(&config);
    // One alpha, though ranks differ.
    let (_folder, path) = written(&model, &lm, &config);
    let adapter = load_adapter(&path, &model).unwrap();
    let again = adapter.attach(lm.clone().into_base(), "default").unwrap();
    assert_near(&logits(&again), &logits(&lm));
    let modules = [
        "model.layers.1.mlp.up_proj",
        "model.layers.1.self_attn.q_proj",
    ];
    let mut expected = LoraConfig::new(3)
        .with_alpha(6.0)
        .with_targets(TargetModules::names(modules));
    expected.rank_pattern.insert(modules[0].to_string(), 1);
    assert_eq!(adapter.config, expected.into());
}

#[test]
fn what_llama_cpp_does_not_compute_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter.gguf");
    let refused = |config: &LoraConfig, saved: &LoraConfig, name: &str| {
        let (model, lm) = adapted(config);
        let error = save_adapter(&path, &lm, &model, name, saved, &options()).unwrap_err();
        assert!(!path.exists());
        error.to_string()
    };
    let plain = LoraConfig::new(4);
    let error = refused(&plain, &plain, "other");
    assert!(
        error.contains("no adapter \"other\"; it has {\"default\"}"),
        "{error}"
    );
    let dora = LoraConfig::new(4).with_dora();
    let error = refused(&dora, &dora, "default");
    assert!(
        error.contains("is DoRA, supported is LoRA without norms: merge the adapter"),
        "{error}"
    );
    let head = LoraConfig::new(4).with_targets(TargetModules::names(["q_proj", "lm_head"]));
    let error = refused(&head, &head, "default");
    assert!(
        error.contains("a module of the adapter is lm_head"),
        "{error}"
    );
    let mut bias = LoraConfig::new(4);
    bias.bias = LoraBias::All;
    assert!(refused(&plain, &bias, "default").contains("trains biases"));
    let mut whole = LoraConfig::new(4);
    whole.modules_to_save = vec!["lm_head".to_string()];
    assert!(refused(&plain, &whole, "default").contains("trains modules_to_save"));
    let mut alphas = LoraConfig::new(4);
    alphas.alpha_pattern.insert("v_proj".to_string(), 2.0);
    let error = refused(&alphas, &alphas, "default");
    assert!(
        error.contains("self_attn.q_proj is 8, and that of model.layers.0.self_attn.v_proj is 2"),
        "{error}"
    );
    let mut ranks = LoraConfig::new(4).with_rslora();
    ranks.rank_pattern.insert("v_proj".to_string(), 1);
    // 8 / sqrt(4) * 4, and 8 / sqrt(1) * 1.
    assert!(refused(&ranks, &ranks, "default").contains("is 16, and that of"));
}

#[test]
fn adapters_of_bitnet_are_for_bases_with_scales_in_their_weights() {
    let device = Device::default();
    let model = BitNetLmConfig::new(32, 32, 1, 4, 48).with_max_positions(16);
    let config = LoraConfig::new(2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter.gguf");
    let save = |lm: BitNetLm, options: &SaveOptions| {
        let (lm, _) = lm.pack().with_adapter("default", &config).unwrap();
        save_adapter(&path, &lm, &model, "default", &config, options)
    };
    let error = save(model.init(&device), &options())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("q_proj is quantized, and llama.cpp multiplies the scale"),
        "{error}"
    );
    save(model.init(&device), &options().with_scales_in_weights(true)).unwrap();
    save(model.init(&device), &SaveOptions::new(GgmlType::I2_S)).unwrap();
    // In full precision there are none.
    let lm: BitNetLm<Linear> = model.init(&device);
    let (lm, _) = lm.with_adapter("default", &config).unwrap();
    save_adapter(&path, &lm, &model, "default", &config, &options()).unwrap();
    assert!(load_adapter(&path, &model).is_ok());
}

#[test]
fn other_methods_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter.gguf");
    let methods: [(PeftConfig, &str); 4] = [
        (AdaLoraConfig::new(10).into(), "AdaLoRA"),
        (Ia3Config::default().into(), "(IA)³"),
        (BitFitConfig::default().into(), "BitFit"),
        (PromptTuningConfig::new(2).into(), "a prompt"),
    ];
    for (config, method) in methods {
        let (model, lm) = llama();
        let (lm, _) = lm.with_adapter("default", &config).unwrap();
        let error = save_adapter(&path, &lm, &model, "default", &config, &options()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&format!(" is {method}, supported is LoRA")),
            "{error}"
        );
    }
}

#[test]
fn files_that_are_no_lora_adapter_of_the_model_are_refused() {
    let config = LoraConfig::new(2);
    let (model, lm) = adapted(&config);
    let (_folder, path) = written(&model, &lm, &config);
    let bytes = fs::read(&path).unwrap();
    let refused = |change: &dyn Fn(&mut Parts)| {
        fs::write(&path, &bytes).unwrap();
        let mut parts = Parts::of(&path);
        change(&mut parts);
        parts.write(&path);
        load_adapter(&path, &model).unwrap_err().to_string()
    };
    let tokens = GgufValue::from(vec![1u32, 2]);
    for (key, value, message) in [
        (
            "general.type",
            "model".into(),
            "general.type is model, supported is adapter",
        ),
        (
            "adapter.type",
            "control".into(),
            "adapter.type is control, supported is lora",
        ),
        (
            "general.architecture",
            "qwen2".into(),
            "general.architecture is qwen2, supported is that of the model, llama",
        ),
        (
            "adapter.alora.invocation_tokens",
            tokens.clone(),
            "adapter.alora.invocation_tokens is [1,2]",
        ),
        (
            "adapter.lora.invocation_tokens",
            tokens,
            "adapter.lora.invocation_tokens is [1,2]",
        ),
        (
            "adapter.lora.alpha",
            (-1f32).into(),
            "alpha must be positive and finite",
        ),
    ] {
        let error = refused(&|parts| {
            parts.metadata.replace(key, value.clone()).unwrap();
        });
        assert!(error.contains(message), "{error}");
    }
    type Change<'a> = &'a dyn Fn(&mut Parts);
    let cases: [(Change<'_>, &str); 5] = [
        (
            &|parts| drop(parts.tensors.remove(0)),
            "blk.0.attn_q.weight.lora_a: missing",
        ),
        (
            &|parts| parts.tensors[1].1 = GgufShape::from_row_major(&[16, 4]).unwrap(),
            "lora_b: expected shape [32, 2], found [16, 4]",
        ),
        (
            &|parts| parts.tensors[0].0 = "token_embd.weight.lora_a".to_string(),
            "token_embd.weight.lora_a: no factor",
        ),
        (
            &|parts| parts.tensors[0].2[..4].copy_from_slice(&f32::NAN.to_le_bytes()),
            "lora_a: number 0 is NaN",
        ),
        (&|parts| parts.tensors.clear(), "the adapter has no tensors"),
    ];
    for (change, message) in cases {
        let error = refused(change);
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn without_alpha_the_factor_is_1_and_other_keys_are_listed() {
    let mut config = LoraConfig::new(2).with_alpha(2.0);
    config.rank_pattern.insert("v_proj".to_string(), 1);
    config.alpha_pattern.insert("v_proj".to_string(), 1.0);
    let (model, lm) = adapted(&config);
    let plain = LoraConfig {
        alpha_pattern: Default::default(),
        ..config.clone()
    };
    let (_folder, path) = written(&model, &adapted(&plain).1, &plain);
    let mut parts = Parts::of(&path);
    parts.metadata.replace("adapter.lora.alpha", 0f32).unwrap();
    parts
        .metadata
        .insert("adapter.lora.task_name", "any")
        .unwrap();
    parts.metadata.insert("adapter.lora.gain", 2u32).unwrap();
    parts.write(&path);
    let adapter = load_adapter(&path, &model).unwrap();
    let again = adapter.attach(lm.clone().into_base(), "default").unwrap();
    assert_near(&logits(&again), &logits(&lm));
    let unknown: Vec<&str> = adapter
        .unknown_keys
        .iter()
        .map(|key| key.key.as_str())
        .collect();
    assert_eq!(unknown, ["adapter.lora.gain"]);
}
