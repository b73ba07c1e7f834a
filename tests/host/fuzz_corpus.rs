//! Replay of the fuzz corpora without libFuzzer: bugs found once stay fixed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm,
        gguf::{self, GgmlType},
        hf::{self, ScaleConvention, WeightForm},
        peft,
    },
    nn::{BitLinear, BitNetLm, BitNetLmConfig, GatedActivation},
    peft::{
        AdaLoraConfig, AdaptedLinear, Ia3Config, LoraConfig, PeftConfig, PrefixTuningConfig,
        PromptTuningConfig, TargetModules,
    },
    qat::{Prepare, convert},
    quant::WeightGranularity,
    text::dataset::TokenFileWriter,
    train::teacher_logits::TeacherLogitsWriter,
};
use burn::{
    module::{Module, ParamGroup},
    tensor::{DType, Device, FloatDType},
};
use serde_json::json;

use super::readers::{TARGETS, adapted_model, folder_bytes, packed_layer, teacher_logits_format};
use crate::support::{models::scheme, unusual_config::unusual, values::*};

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target)
}

#[test]
fn no_file_of_the_corpora_makes_a_reader_panic() {
    // Files are read the same way on every device.
    if !on_flex() {
        return;
    }
    for (target, read) in TARGETS {
        let files = fs::read_dir(corpus(target)).expect("a corpus of every target");
        let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        paths.sort();
        assert!(!paths.is_empty(), "{target}");
        for path in paths {
            println!("{}", path.display());
            read(&fs::read(&path).unwrap());
        }
    }
}

#[test]
fn every_target_is_in_the_fuzz_package() {
    let fuzz = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for (target, _) in TARGETS {
        assert!(
            manifest.contains(&format!("name = \"{target}\"")),
            "{target}"
        );
        let body = fs::read_to_string(fuzz.join("fuzz_targets").join(format!("{target}.rs")));
        assert!(
            body.unwrap()
                .contains(&format!("bitnet_burn_fuzz::{target}(data)"))
        );
    }
}

/// Writes the seed files of the corpora: run it after a format has changed, or a reader has been added.
#[test]
#[ignore = "writes into fuzz/corpus"]
fn write_seeds() {
    let save = |target, name, bytes: &[u8]| fs::write(corpus(target).join(name), bytes).unwrap();
    save("gguf", "llama", &gguf_file(false));
    save("gguf", "bitnet", &gguf_file(true));
    save(
        "gguf",
        "small",
        &super::interop::gguf::file::writer().to_bytes().unwrap(),
    );
    save(
        "hf_folder",
        "float",
        &hf_folder(false, WeightForm::Float(FloatDType::F32)),
    );
    save(
        "hf_folder",
        "packed",
        &hf_folder(false, WeightForm::Packed(ScaleConvention::Divide)),
    );
    save(
        "hf_folder",
        "index",
        &hf_folder(true, WeightForm::Float(FloatDType::BF16)),
    );
    for (name, config) in adapters() {
        save("peft_folder", name, &peft_files(&config));
        if name == "lora" {
            save("gguf_adapter", name, &adapter_file(&config));
        }
    }
    save("training_config", "toml", unusual().to_toml().as_bytes());
    save("training_config", "json", unusual().to_json().as_bytes());
    for (name, top_k) in [("full", false), ("top_k", true)] {
        save("teacher_logits", name, &logits_file(top_k));
    }
    for (name, vocab_size) in [("short", 300), ("long", 1 << 17)] {
        save("token_file", name, &tokens_file(vocab_size));
    }
    for (name, granularity) in [
        ("per_tensor", WeightGranularity::PerTensor),
        ("per_group", WeightGranularity::PerGroup { group_size: 5 }),
    ] {
        save("packed_model", name, &packed_file(granularity));
    }
    save("checkpoint", "whole", &checkpoint_files(true));
    save("checkpoint", "unchecked", &checkpoint_files(false));
}

fn model(sub_norm: bool) -> PretrainedLm {
    let config = BitNetLmConfig::new(55, 8, 1, 2, 8)
        .with_n_kv_heads(Some(1))
        .with_max_positions(16)
        .with_sub_norm(sub_norm)
        .with_tied_embeddings(sub_norm)
        .with_activation(GatedActivation::Silu);
    let lm: BitNetLm = config.init(&Device::default());
    PretrainedLm::new(config, CausalLm::Qat(lm))
}

fn gguf_file(sub_norm: bool) -> Vec<u8> {
    let json = fs::read(corpus("tokenizer").join("bpe")).unwrap();
    let json = serde_json::from_slice(&json).unwrap();
    let options = gguf::tokenizer::TokenizerOptions::new(55).with_pre("gpt-2");
    let options = options.with_embedded_json(sub_norm);
    let tokenizer = gguf::tokenizer::to_metadata(&json, None, &options).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let options = gguf::SaveOptions::new(GgmlType::F16).with_tokenizer(Some(tokenizer));
    gguf::save(&path, &model(sub_norm), &options).unwrap();
    fs::read(path).unwrap()
}

fn hf_folder(in_shards: bool, form: WeightForm) -> Vec<u8> {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("model");
    let shard = if in_shards { 1600 } else { usize::MAX };
    let options = hf::SaveOptions::new(form).with_max_shard_bytes(shard);
    hf::save(&path, &model(true), &options).unwrap();
    files_of(&path)
}

/// Adapters of each method.
fn adapters() -> Vec<(&'static str, PeftConfig)> {
    let targets = TargetModules::names(["q_proj", "down_proj"]);
    let lora = LoraConfig::new(2).with_targets(targets.clone());
    let ia3 = Ia3Config::new(targets.clone(), TargetModules::names(["down_proj"]));
    let ada_lora = AdaLoraConfig::new(9).with_ranks(2, 1).with_targets(targets);
    vec![
        ("lora", lora.clone().into()),
        ("dora", lora.with_dora().into()),
        ("ada_lora", ada_lora.into()),
        ("ia3", ia3.into()),
        ("prefix", PrefixTuningConfig::new(2).into()),
        ("prompt", PromptTuningConfig::new(2).into()),
    ]
}

/// Returns a model with an adapter whose values are drawn.
fn adapted(config: &PeftConfig) -> BitNetLm<AdaptedLinear<BitLinear>> {
    let lm: BitNetLm = adapted_model().init(&Device::default());
    let (lm, _) = lm.with_adapter("default", config).unwrap();
    lm.map(&mut Drawn::new(5, 0.2))
}

fn peft_files(config: &PeftConfig) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    peft::save(folder.path(), &adapted(config), "default", config).unwrap();
    files_of(folder.path())
}

fn adapter_file(config: &PeftConfig) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter.gguf");
    let (lm, model) = (adapted(config), adapted_model());
    let options = gguf::SaveOptions::new(GgmlType::F16).with_scales_in_weights(true);
    gguf::save_adapter(&path, &lm, &model, "default", config, &options).unwrap();
    fs::read(path).unwrap()
}

fn logits_file(top_k: bool) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logits");
    let mut writer = TeacherLogitsWriter::create(&path, teacher_logits_format(top_k)).unwrap();
    let logits = tensor::<3>(&normal(20, 3), [2, 2, 5], DType::F32, &Device::default());
    writer.push(logits).unwrap();
    writer.finish().unwrap();
    fs::read(path).unwrap()
}

fn tokens_file(vocab_size: usize) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.bin");
    let mut writer = TokenFileWriter::create(&path, vocab_size).unwrap();
    writer.push(&[0, 299, 7, 30]).unwrap();
    writer.finish().unwrap();
    files_of(folder.path())
}

fn packed_file(granularity: WeightGranularity) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bpk");
    let scheme = scheme(granularity);
    let prepare = Prepare::new(scheme.clone()).with_group(ParamGroup::from_path("weight"));
    let layer = packed_layer(&Device::default()).map(&mut Drawn::new(800, 0.2));
    let layer = prepare.apply(layer).unwrap().model;
    convert(&layer).unwrap().save(&path).unwrap();
    fs::read(path).unwrap()
}

fn checkpoint_files(checksum: bool) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let entry = |name: &str| {
        let bytes = name.as_bytes();
        write(name, bytes);
        json!({"name": name, "bytes": bytes.len(), "crc32": crc32fast::hash(bytes)})
    };
    let files = ["model.bpk", "optimizer.bpk", "scheduler.bpk"].map(entry);
    let manifest = json!({
        "format": "bitnet-burn checkpoint",
        "version": 3,
        "position": {"step": 2, "epoch": 1, "batches": 2},
        "fingerprint": "a run",
        "settings": {
            "version": "0.1.0",
            "quantizers": {"weight": {
                "quantizer": "absmean ternary per tensor, outputs in dimension 1",
                "ste": {"clipped": {"bound": 1.5}},
            }},
            "grad_accumulation": 2,
            "num_items": 8,
        },
        "tensors": [{"path": "weight", "dtype": "F32", "shape": [2, 3]}],
        "metric": {"metric": {"name": "Loss", "higher_is_better": false}, "value": 0.5},
        "over": {"source": "early_stopping", "reason": "enough", "num_epochs": 3},
        "files": files,
        "callbacks": {"controls": {"lambda": [1.0]}},
    })
    .to_string();
    write("manifest.json", manifest.as_bytes());
    if checksum {
        let sum = format!("{:08x}\n", crc32fast::hash(manifest.as_bytes()));
        write("manifest.crc32", sum.as_bytes());
    }
    files_of(folder.path())
}

/// Joins all files of a folder into one input.
fn files_of(folder: &Path) -> Vec<u8> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    folder_bytes(
        files
            .iter()
            .map(|(name, bytes)| (name.as_str(), &bytes[..])),
    )
}
