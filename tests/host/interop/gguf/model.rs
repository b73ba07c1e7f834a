//! Language models written as GGUF files and read back.

use std::{path::Path, sync::OnceLock};

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm,
        gguf::{
            GgmlType, GgufError, GgufMetadata, GgufReader, GgufWriter, LoadOptions, SaveOptions,
            load, load_from, save,
        },
    },
    nn::{BitNetLm, BitNetLmConfig, GatedActivation, RopeScaling},
    quant::{QatScheme, WeightGranularity, WeightQuantizer},
};
use burn::{
    nn::Linear,
    tensor::{Device, Int, Tensor},
};

use proptest::prelude::*;

use crate::support::values::*;

const FLOATS: [GgmlType; 3] = [GgmlType::F32, GgmlType::F16, GgmlType::BF16];
const TERNARY: [GgmlType; 3] = [GgmlType::TQ1_0, GgmlType::TQ2_0, GgmlType::I2_S];

fn config(sub_norm: bool) -> BitNetLmConfig {
    BitNetLmConfig::new(32, 256, 1, 4, 256)
        .with_n_kv_heads(Some(2))
        .with_max_positions(16)
        .with_sub_norm(sub_norm)
        .with_activation(GatedActivation::Silu)
}

fn qat(config: BitNetLmConfig) -> PretrainedLm {
    let lm: BitNetLm = config.init(&Device::default());
    PretrainedLm::new(config, CausalLm::Qat(lm))
}

/// Returns the deployed model; on some devices its sums have another order than in training.
fn packed(model: &PretrainedLm) -> PretrainedLm {
    let CausalLm::Qat(lm) = &model.lm else {
        panic!("{}", model.lm.form())
    };
    PretrainedLm::new(model.config.clone(), CausalLm::Packed(lm.pack()))
}

fn full(config: BitNetLmConfig) -> PretrainedLm {
    let lm: BitNetLm<Linear> = config.init(&Device::default());
    PretrainedLm::new(config, CausalLm::Full(lm))
}

fn logits(model: &PretrainedLm) -> Vec<f32> {
    let tokens = Tensor::<2, Int>::from_ints([[5, 3, 17, 9, 0, 31, 2, 8]], &Device::default());
    floats(model.lm.forward(tokens))
}

fn exact(ggml_type: GgmlType) -> SaveOptions {
    SaveOptions::new(ggml_type).with_embeddings(Some(GgmlType::F32))
}

fn again(path: &Path, model: &PretrainedLm, options: &SaveOptions) -> PretrainedLm {
    save(path, model, options).unwrap();
    let options = LoadOptions::new().with_i2_s(true);
    load(path, &options, &Device::default()).unwrap()
}

#[test]
fn quantized_models_round_trip_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    for sub_norm in [true, false] {
        let model = qat(config(sub_norm));
        let expected = logits(&packed(&model));
        for ggml_type in FLOATS.into_iter().chain(TERNARY) {
            // A Llama has no tensor for the scales, which half precision rounds.
            let rounds = !sub_norm && !matches!(ggml_type, GgmlType::F32 | GgmlType::I2_S);
            let loaded = again(&path, &model, &exact(ggml_type));
            assert!(matches!(loaded.lm, CausalLm::Packed(_)), "{ggml_type}");
            let name = format!("{ggml_type}, sub-norms {sub_norm}");
            if rounds {
                // bf16 has 8 bits; its rounding changes some codes.
                assert_within(&logits(&loaded), &expected, |_| 0.1, &name);
            } else {
                assert_equal(&logits(&loaded), &expected, &name);
            }
            // Packed weights are written unchanged.
            let packed = again(&path, &loaded, &exact(ggml_type));
            assert_equal(&logits(&packed), &logits(&loaded), &name);
        }
    }
}

#[test]
fn full_precision_comes_back_with_every_choice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let linear = RopeScaling::Linear { factor: 2.0 };
    let config = config(false)
        .with_tied_embeddings(false)
        .with_rope_theta(1234.0)
        .with_rms_norm_epsilon(3e-6)
        .with_rope_scaling(Some(linear));
    let mut model = full(config);
    model.bos_token_id = Some(1);
    let loaded = again(&path, &model, &exact(GgmlType::F32));
    assert!(matches!(loaded.lm, CausalLm::Full(_)));
    assert_equal(&logits(&loaded), &logits(&model), "logits");
    assert_eq!(loaded.config.to_string(), model.config.to_string());

    let reader = GgufReader::open(&path).unwrap();
    let metadata = reader.metadata();
    assert_eq!(
        metadata.required::<&str>("general.architecture").unwrap(),
        "llama"
    );
    assert_eq!(
        metadata
            .required::<u32>("llama.attention.head_count_kv")
            .unwrap(),
        2
    );
}

#[test]
fn saving_rejects_models_that_llama_cpp_computes_differently() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let refused = |model: &PretrainedLm, ggml_type| {
        let error = save(&path, model, &SaveOptions::new(ggml_type)).unwrap_err();
        assert!(!path.exists());
        error.to_string()
    };
    let relu2 = qat(config(true).with_activation(GatedActivation::SquaredRelu));
    assert!(refused(&relu2, GgmlType::F16).contains("llama.cpp computes SiLU"));
    let untied = qat(config(true).with_tied_embeddings(false));
    assert!(refused(&untied, GgmlType::F16).contains("train with tied_embeddings"));
    assert!(
        refused(&full(config(true)), GgmlType::TQ2_0).contains("weights are in full precision")
    );
    let narrow = qat(BitNetLmConfig::new(32, 64, 1, 4, 256).with_activation(GatedActivation::Silu));
    let error = refused(&narrow, GgmlType::TQ1_0);
    assert!(
        error.contains("blk.0.") && error.contains("rows of 64 elements"),
        "{error}"
    );
    let per_channel = WeightQuantizer::ternary(WeightGranularity::PerChannel);
    let scheme = QatScheme::b1_58().with_weight(per_channel);
    let per_channel = qat(config(true).with_scheme(scheme));
    assert!(refused(&per_channel, GgmlType::F16).contains("is not quantized in full"));

    // If allowed, the file names its activation.
    let loaded = again(
        &path,
        &relu2,
        &exact(GgmlType::TQ2_0).with_squared_relu(true),
    );
    assert_eq!(loaded.config.activation, GatedActivation::SquaredRelu);
    assert_equal(&logits(&loaded), &logits(&packed(&relu2)), "squared ReLU");
}

/// Rewrites the file without, or with changed, tensors and keys.
fn rewrite(
    path: &Path,
    change: impl Fn(&mut GgufMetadata),
    keep: impl Fn(&str) -> bool,
) -> GgufError {
    let reader = GgufReader::open(path).unwrap();
    let mut metadata = reader.metadata().clone();
    change(&mut metadata);
    let mut writer = GgufWriter::new(metadata).unwrap();
    for tensor in reader.tensors().filter(|tensor| keep(tensor.name())) {
        let (name, bytes) = (tensor.name(), tensor.bytes());
        writer
            .add_bytes(name, tensor.ggml_type(), tensor.shape(), bytes)
            .unwrap();
    }
    let changed = path.with_extension("changed");
    writer.write(&changed).unwrap();
    load(&changed, &LoadOptions::new(), &Device::default()).unwrap_err()
}

#[test]
fn everything_wrong_with_a_file_is_in_one_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    save(&path, &qat(config(true)), &exact(GgmlType::TQ2_0)).unwrap();
    let all = |_: &str| true;
    let missing = rewrite(&path, |_| {}, |name| !name.starts_with("blk.0.ffn_"));
    let text = missing.to_string();
    assert!(
        text.contains("5 tensors are not as the metadata say"),
        "{text}"
    );
    assert!(
        text.contains("blk.0.ffn_down.weight: missing, expected [256, 256]"),
        "{text}"
    );
    let wider = |metadata: &mut GgufMetadata| {
        metadata
            .replace("bitnet.feed_forward_length", 512u32)
            .unwrap();
    };
    let text = rewrite(&path, wider, all).to_string();
    assert!(
        text.contains("blk.0.ffn_up.weight: expected shape [512, 256], found [256, 256]"),
        "{text}"
    );
    for (key, value, message) in [
        ("bitnet.block_count", u32::MAX, "block_count is 4294967295"),
        (
            "bitnet.context_length",
            u32::MAX,
            "set LoadOptions::with_max_positions",
        ),
        ("bitnet.attention.head_count", 0, "do not go together"),
        ("bitnet.attention.head_count", 7, "do not go together"),
    ] {
        let change = |metadata: &mut GgufMetadata| {
            metadata.replace(key, value).unwrap();
        };
        let text = rewrite(&path, change, all).to_string();
        assert!(text.contains(message), "{text}");
    }
    let other = |metadata: &mut GgufMetadata| {
        metadata.replace("general.architecture", "gemma").unwrap();
    };
    assert!(
        rewrite(&path, other, all)
            .to_string()
            .contains("general.architecture is gemma, supported is bitnet")
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn mutated_models_do_not_panic(
        edits in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6),
    ) {
        static FILE: OnceLock<Vec<u8>> = OnceLock::new();
        let mut file = FILE.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("model.gguf");
            let tiny = BitNetLmConfig::new(8, 16, 1, 2, 16)
                .with_max_positions(8)
                .with_activation(GatedActivation::Silu);
            save(&path, &qat(tiny), &SaveOptions::new(GgmlType::F16)).unwrap();
            std::fs::read(path).unwrap()
        }).clone();
        let len = file.len();
        for (place, byte) in edits {
            file[place % len] = byte;
        }
        if let Ok(reader) = GgufReader::from_bytes(file, &LoadOptions::new()) {
            let _ = load_from(&reader, &LoadOptions::new(), &Device::default());
        }
    }
}
