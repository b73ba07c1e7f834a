//! Scaling of positions in GGUF files of this crate and of other programs.

use bitnet_burn::{
    interop::{
        PretrainedLm,
        gguf::{GgmlType, GgufMetadata, GgufShape, LoadOptions, SaveOptions, save},
    },
    nn::RopeScaling,
};

use super::models::*;
use crate::support::values::*;

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
