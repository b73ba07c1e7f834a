//! Keys of GGUF files: honored, rejected by name, or listed as unknown.

use bitnet_burn::{
    interop::gguf::{GgmlType, GgufError, GgufMetadata, GgufValue, LoadOptions, SaveOptions, save},
    nn::GatedActivation,
};

use super::models::*;
use crate::support::values::*;

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
fn values_of_refused_keys_are_shown_and_other_kinds_of_files_are_refused() {
    let error = |key: &str, value: GgufValue| with_key(key, value).unwrap_err().to_string();
    let text = error("llama.attention.clamp_kqv", 8.0f32.into());
    let expected = ": llama.attention.clamp_kqv is 8.0, supported is 0";
    assert!(text.ends_with(expected), "{text}");
    for (key, value, expected) in [
        (
            "llama.logit_scale",
            f32::NAN.into(),
            "llama.logit_scale is NaN",
        ),
        ("llama.expert_count", 8u32.into(), "expert_count is 8"),
        (
            "llama.swiglu_clamp_exp",
            vec![0.0f32, 1.0].into(),
            "swiglu_clamp_exp",
        ),
        ("general.type", "adapter".into(), "general.type is adapter"),
        ("split.count", 3u16.into(), "part 1 of 3 of a split GGUF"),
    ] {
        let text = error(key, value);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn keys_that_are_off_pass_and_unknown_ones_are_listed() {
    let model = with_keys(&[
        ("llama.expert_count", 0u32.into()),
        ("llama.swiglu_clamp_exp", vec![0.0f32; 4].into()),
        ("llama.logit_scale", 1.0f32.into()),
        ("llama.new_idea", 3u32.into()),
        ("tokenizer.chat_template.tool_use", "x".into()),
        ("tokenizer.ggml.new", vec![1u32, 2].into()),
        ("general.anything", true.into()),
        ("split.count", 1u16.into()),
        ("quantize.imatrix.file", "i.dat".into()),
    ]);
    let unknown = model.unwrap().unknown_keys;
    let text: Vec<String> = unknown.iter().map(ToString::to_string).collect();
    let expected = [
        "GGUF: llama.new_idea = 3",
        "GGUF: tokenizer.ggml.new = [1,2]",
    ];
    assert_eq!(text, expected);
}

#[test]
fn sizes_of_layers_have_to_be_equal() {
    const KEY: &str = "llama.feed_forward_length";
    assert_eq!(with_key(KEY, vec![64i32, 64]).unwrap().config.d_ff, 64);
    assert_eq!(with_key(KEY, 64u8).unwrap().config.d_ff, 64);
    let text = with_key(KEY, vec![48u64, 64]).unwrap_err().to_string();
    let expected =
        "llama.feed_forward_length is [48,64], supported is the same size for every layer";
    assert!(text.ends_with(expected), "{text}");
    let text = with_key(KEY, vec![64i32; 3]).unwrap_err().to_string();
    assert!(text.contains("one for each of 2 layers"), "{text}");
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
