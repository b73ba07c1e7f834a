//! Keys of GGUF files: honored, rejected by name, or listed as unknown.

use std::path::Path;

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm,
        gguf::{
            GgmlType, GgufError, GgufMetadata, GgufReader, GgufShape, GgufValue, GgufWriter,
            LoadOptions, SaveOptions, encode, load, save,
        },
    },
    nn::{BitNetLm, BitNetLmConfig, GatedActivation, RopeScaling},
};
use burn::{
    nn::Linear,
    tensor::{Device, Int, Tensor},
};

use crate::support::values::*;

fn config(sub_norm: bool) -> BitNetLmConfig {
    BitNetLmConfig::new(16, 32, 2, 4, 64)
        .with_n_kv_heads(Some(2))
        .with_max_positions(16)
        .with_sub_norm(sub_norm)
        .with_activation(GatedActivation::Silu)
}

fn full(config: BitNetLmConfig) -> PretrainedLm {
    let lm: BitNetLm<Linear> = config.init(&Device::default());
    PretrainedLm::new(config, CausalLm::Full(lm))
}

fn logits(model: &PretrainedLm) -> Vec<f32> {
    let tokens = Tensor::<2, Int>::from_ints([[5, 3, 1, 9, 0, 15, 2, 8]], &Device::default());
    floats(model.lm.forward(tokens))
}

/// Rewrites the file with other metadata and with the tensors returned by `tensor`.
fn rewritten(
    path: &Path,
    change: impl Fn(&mut GgufMetadata),
    tensor: impl Fn(&str, GgufShape, Vec<f32>) -> (GgmlType, Vec<u8>),
    options: &LoadOptions,
) -> Result<PretrainedLm, GgufError> {
    let reader = GgufReader::open(path).unwrap();
    let mut metadata = GgufMetadata::new();
    for (key, value) in reader.metadata().iter() {
        // Drops the keys that this crate writes for itself: they do not hold for a changed file.
        if !key.starts_with("bitnet_burn.") {
            metadata.insert(key, value.clone()).unwrap();
        }
    }
    change(&mut metadata);
    let mut writer = GgufWriter::new(metadata).unwrap();
    for old in reader.tensors() {
        let (ggml_type, bytes) = tensor(old.name(), old.shape(), old.decode().unwrap());
        writer
            .add_bytes(old.name(), ggml_type, old.shape(), bytes)
            .unwrap();
    }
    let changed = path.with_extension("changed");
    writer.write(&changed).unwrap();
    load(&changed, options, &Device::default())
}

fn as_it_is(name: &str, shape: GgufShape, values: Vec<f32>) -> (GgmlType, Vec<u8>) {
    let bytes = encode(name, GgmlType::F32, shape, &values).unwrap();
    (GgmlType::F32, bytes)
}

/// Loads a Llama model with another value of a key.
fn with_key(key: &str, value: impl Into<GgufValue>) -> Result<PretrainedLm, GgufError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    save(
        &path,
        &full(config(false)),
        &SaveOptions::new(GgmlType::F32),
    )
    .unwrap();
    let value = value.into();
    let change = |metadata: &mut GgufMetadata| {
        metadata.replace(key, value.clone()).unwrap();
    };
    rewritten(&path, change, as_it_is, &LoadOptions::new())
}

#[test]
fn keys_that_change_the_computation_are_refused_by_name() {
    let cases: [(&str, GgufValue, &str); 19] = [
        (
            "rope.dimension_count",
            4u32.into(),
            "supported is the size of a head, 8",
        ),
        (
            "attention.value_length",
            16u32.into(),
            "supported is the size of a head, 8",
        ),
        (
            "attention.scale",
            0.5f32.into(),
            "supported is 1 / sqrt(head)",
        ),
        ("attention.causal", false.into(), "supported is true"),
        (
            "attention.sliding_window",
            8u32.into(),
            "LoadOptions::with_max_positions",
        ),
        ("attention.clamp_kqv", 8.0f32.into(), "supported is 0"),
        ("rope.scaling.type", "longrope".into(), "longrope"),
        (
            "rope.scaling.factor",
            (-2.0f32).into(),
            "supported is a factor above 0",
        ),
        (
            "rope.scaling.attn_factor",
            (-1.5f32).into(),
            "supported is a factor above 0",
        ),
        ("logit_scale", 0.25f32.into(), "supported is 0 or 1"),
        ("residual_scale", 0.25f32.into(), "supported is 0 or 1"),
        ("embedding_scale", 12.0f32.into(), "supported is 0 or 1"),
        ("final_logit_softcapping", 30.0f32.into(), "supported is 0"),
        ("expert_count", 8u32.into(), "supported is 0"),
        ("pooling_type", 2u32.into(), "supported is 0"),
        ("use_parallel_residual", true.into(), "supported is false"),
        ("tensor_data_layout", "other".into(), "Meta AI original pth"),
        (
            "vocab_size",
            17u32.into(),
            "the rows of token_embd.weight, 16",
        ),
        (
            "hidden_activation",
            "gelu".into(),
            "supported is silu or relu2",
        ),
    ];
    for (key, value, expected) in cases {
        let error = with_key(&format!("llama.{key}"), value)
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("llama.{key} is ")), "{error}");
        assert!(error.contains(expected), "{error}");
    }
    let heads = with_key("llama.attention.head_count", vec![4u32, 2]).unwrap_err();
    assert!(heads.to_string().contains("the same size for every layer"));
}

#[test]
fn keys_without_an_effect_are_read() {
    let cases: [(&str, GgufValue); 13] = [
        ("rope.dimension_count", 8u32.into()),
        ("attention.key_length", 8u32.into()),
        ("attention.scale", (1.0f32 / 8.0f32.sqrt()).into()),
        ("attention.causal", true.into()),
        ("attention.sliding_window", 16u32.into()),
        ("attention.head_count_kv", vec![2i32; 2].into()),
        ("feed_forward_length", vec![64u64; 2].into()),
        ("rope.scaling.attn_factor", 1.0f32.into()),
        ("rope.scaling.finetuned", false.into()),
        ("rope.scaling.factor", 0.0f32.into()),
        ("expert_count", 0u32.into()),
        ("hidden_activation", "silu".into()),
        ("tensor_data_layout", "Meta AI original pth".into()),
    ];
    for (key, value) in cases {
        let model = with_key(&format!("llama.{key}"), value);
        let model = model.unwrap_or_else(|error| panic!("{key}: {error}"));
        let expected = config(false).with_tied_embeddings(true);
        assert_eq!(model.config.rope_scaling, expected.rope_scaling, "{key}");
        assert_eq!(model.config.d_ff, expected.d_ff, "{key}");
        assert!(model.unknown_keys.is_empty(), "{key}");
    }
    let model = with_key("llama.a_new_key", 3u32).unwrap();
    assert_eq!(
        model.unknown_keys[0].to_string(),
        "GGUF: llama.a_new_key = 3"
    );
}

#[test]
fn positions_are_scaled_as_llama_cpp_does() {
    let linear = |model: PretrainedLm| match model.config.rope_scaling {
        Some(RopeScaling::Linear { factor }) => Some(factor),
        None => None,
        other => panic!("{other:?}"),
    };
    // A factor without a type, and its former name.
    for key in ["llama.rope.scaling.factor", "llama.rope.scale_linear"] {
        assert_eq!(linear(with_key(key, 4.0f32).unwrap()), Some(4.0), "{key}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let scaled = config(false).with_rope_scaling(Some(RopeScaling::Linear { factor: 2.0 }));
    save(&path, &full(scaled), &SaveOptions::new(GgmlType::F32)).unwrap();
    let none = |metadata: &mut GgufMetadata| {
        metadata.replace("llama.rope.scaling.type", "none").unwrap();
    };
    let model = rewritten(&path, none, as_it_is, &LoadOptions::new()).unwrap();
    assert_eq!(linear(model), None);
}

fn llama3() -> RopeScaling {
    RopeScaling::Llama3 {
        factor: 32.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_positions: 8192,
    }
}

#[test]
fn factors_of_llama_3_are_recognized_in_files_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let model = full(config(false).with_rope_scaling(Some(llama3())));
    save(&path, &model, &SaveOptions::new(GgmlType::F32)).unwrap();
    let options = LoadOptions::new();
    let loaded = rewritten(&path, |_| {}, as_it_is, &options).unwrap();
    assert_eq!(loaded.config.rope_scaling, Some(llama3()));
    assert_equal(&logits(&loaded), &logits(&model), "logits");
    // Other factors scale the frequencies.
    let other = |name: &str, shape: GgufShape, mut values: Vec<f32>| {
        if name == "rope_freqs.weight" {
            values[1] *= 1.5;
        }
        as_it_is(name, shape, values)
    };
    let loaded = rewritten(&path, |_| {}, other, &options).unwrap();
    let Some(RopeScaling::Longrope { short_factor, .. }) = &loaded.config.rope_scaling else {
        panic!("{:?}", loaded.config.rope_scaling)
    };
    let ratio = short_factor[1] / short_factor[0];
    assert!(ratio > 1.49 && short_factor.len() == 4, "{short_factor:?}");
    let wrong = |name: &str, shape: GgufShape, values: Vec<f32>| match name {
        "rope_freqs.weight" => as_it_is(name, shape, vec![0.0; values.len()]),
        _ => as_it_is(name, shape, values),
    };
    let error = rewritten(&path, |_| {}, wrong, &options)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("rope_freqs.weight: a factor is above 0"),
        "{error}"
    );
}

#[test]
fn yarn_is_read_as_llama_cpp_computes_it() {
    let yarn = |attention_factor| RopeScaling::Yarn {
        factor: 4.0,
        original_max_positions: 8,
        beta_fast: 32.0,
        beta_slow: 1.0,
        truncate: true,
        attention_factor,
        mscale: None,
        mscale_all_dim: None,
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    for attention in [None, Some(2.0)] {
        let model = full(config(false).with_rope_scaling(Some(yarn(attention))));
        save(&path, &model, &SaveOptions::new(GgmlType::F32)).unwrap();
        let loaded = rewritten(&path, |_| {}, as_it_is, &LoadOptions::new()).unwrap();
        let found = loaded.config.rope_scaling.clone().unwrap();
        let expected = yarn(attention).attention_factor();
        assert!(
            (found.attention_factor() - expected).abs() < 1e-6,
            "{found:?}"
        );
        if attention.is_none() {
            assert_eq!(found, yarn(None));
        }
        assert_within(&logits(&loaded), &logits(&model), |_| 1e-5, "logits");
    }
    for (key, value, expected) in [
        ("yarn_log_multiplier", 0.1f32, "supported is 0"),
        ("yarn_ext_factor", 0.5, "supported is 1"),
        ("yarn_attn_factor", 3.0, "which follows from the factor"),
        ("yarn_beta_fast", -1.0, "above 0"),
    ] {
        let change = |metadata: &mut GgufMetadata| {
            metadata
                .replace(format!("llama.rope.scaling.{key}"), value)
                .unwrap();
        };
        let error = rewritten(&path, change, as_it_is, &LoadOptions::new()).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(key) && error.contains(expected), "{error}");
    }
    // The original number of positions is that of the file if no key defines it.
    let change = |metadata: &mut GgufMetadata| {
        let mut fewer = GgufMetadata::new();
        for (key, value) in metadata.iter() {
            if !key.ends_with("original_context_length") {
                fewer.insert(key, value.clone()).unwrap();
            }
        }
        *metadata = fewer;
    };
    let options = LoadOptions::new().with_max_positions(Some(10));
    let loaded = rewritten(&path, change, as_it_is, &options).unwrap();
    let scaling = loaded.config.rope_scaling.unwrap();
    assert!(
        matches!(
            scaling,
            RopeScaling::Yarn {
                original_max_positions: 16,
                ..
            }
        ),
        "{scaling:?}"
    );
}

#[test]
fn the_activation_is_named_or_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let squared = full(config(true).with_activation(GatedActivation::SquaredRelu));
    let options = SaveOptions::new(GgmlType::F32).with_squared_relu(true);
    save(&path, &squared, &options).unwrap();
    let expected = logits(&squared);
    let named = |architecture: &str, key: &str, activation: Option<&str>, options: &LoadOptions| {
        let change = |metadata: &mut GgufMetadata| {
            let mut changed = GgufMetadata::new();
            for (old, value) in metadata.iter() {
                let key = old.replace("bitnet.", &format!("{architecture}."));
                if !key.ends_with("hidden_activation") {
                    changed.insert(key, value.clone()).unwrap();
                }
            }
            changed
                .replace("general.architecture", architecture)
                .unwrap();
            if let Some(activation) = activation {
                changed
                    .insert(format!("{architecture}.{key}"), activation)
                    .unwrap();
            }
            *metadata = changed;
        };
        rewritten(&path, change, as_it_is, options)
    };
    let file = LoadOptions::new();
    for architecture in ["bitnet", "bitnet-b1.58", "bitnet-25"] {
        for key in ["hidden_activation", "hidden_act"] {
            let model = named(architecture, key, Some("relu2"), &file).unwrap();
            assert_equal(&logits(&model), &expected, architecture);
        }
        let told = LoadOptions::new().with_activation(Some(GatedActivation::SquaredRelu));
        let model = named(architecture, "", None, &told).unwrap();
        assert_equal(&logits(&model), &expected, architecture);
    }
    let silu = named("bitnet", "", None, &file).unwrap();
    assert_eq!(silu.config.activation, GatedActivation::Silu);
    for architecture in ["bitnet-b1.58", "bitnet-25"] {
        let error = named(architecture, "", None, &file).unwrap_err();
        assert!(
            matches!(error.kind(), GgufError::Activation { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("LoadOptions::with_activation"));
    }
}

#[test]
fn quantized_weights_load_as_floats() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    save(
        &path,
        &full(config(false)),
        &SaveOptions::new(GgmlType::F32),
    )
    .unwrap();
    let quantized = |name: &str, shape: GgufShape, values: Vec<f32>| {
        if shape.rows() == 1 {
            return as_it_is(name, shape, values);
        }
        // Blocks of Q4_0 with d = 1/64 and varying codes.
        let blocks = values.len() / 32;
        let block = (0..18u8).map(|i| match i {
            0 => 0x00,
            1 => 0x24,
            i => i.wrapping_mul(37),
        });
        let bytes: Vec<u8> = block.cycle().take(blocks * 18).collect();
        (GgmlType::Q4_0, bytes)
    };
    let model = rewritten(&path, |_| {}, quantized, &LoadOptions::new()).unwrap();
    let CausalLm::Full(lm) = &model.lm else {
        panic!("{}", model.lm.form())
    };
    let row: Vec<f32> = floats(lm.model.embed_tokens.weight.val());
    assert_eq!(
        row[0],
        f32::from((2u8.wrapping_mul(37) & 0xf) as i8 - 8) / 64.0
    );
    assert_eq!(
        row[16],
        f32::from((2u8.wrapping_mul(37) >> 4) as i8 - 8) / 64.0
    );
    assert!(logits(&model).iter().all(|logit| logit.is_finite()));

    let unread = |name: &str, shape: GgufShape, values: Vec<f32>| match shape.rows() {
        1 => as_it_is(name, shape, values),
        _ => (GgmlType::Q8_1, vec![0; values.len() / 32 * 40]),
    };
    let error = rewritten(&path, |_| {}, unread, &LoadOptions::new())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("15 tensors are not as the metadata say"),
        "{error}"
    );
    assert!(
        error.contains("and 12 more: the type Q8_1 is not read here"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 2);
}

#[test]
fn weights_that_are_not_finite_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let mut model = full(config(false));
    let CausalLm::Full(lm) = &mut model.lm else {
        unreachable!()
    };
    let up = &mut lm.model.layers[1].mlp.up_proj.weight;
    *up = up.clone().map(|weight| weight.mul_scalar(f32::NAN));
    for ggml_type in [GgmlType::F32, GgmlType::BF16, GgmlType::Q8_0] {
        let error = save(&path, &model, &SaveOptions::new(ggml_type))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("tensor `blk.1.ffn_up.weight`, number 0"),
            "{error}"
        );
        assert!(error.contains("NaN"), "{error}");
        assert!(!path.exists());
    }
}
