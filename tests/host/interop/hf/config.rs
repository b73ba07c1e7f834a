//! `config.json`: what is read, and what is refused.

use std::fs;

use bitnet_burn::{
    interop::hf::{Family, HfConfig, HfError},
    nn::{GatedActivation, ProjectionBias, QkNorm, RopeScaling},
};
use serde_json::{Value, json};

fn read(changes: Value) -> Result<HfConfig, HfError> {
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 100,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "eos_token_id": [1, 2],
    });
    let fields = config.as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        match value == "(missing)" {
            true => fields.remove(key),
            false => fields.insert(key.clone(), value.clone()),
        };
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    fs::write(&path, config.to_string()).unwrap();
    HfConfig::read(&path)
}

fn error(changes: Value) -> String {
    read(changes).unwrap_err().to_string()
}

#[test]
fn what_is_missing_is_as_transformers_has_it() {
    let config = read(json!({})).unwrap();
    assert_eq!(config.family, Family::Llama);
    assert_eq!(config.lm.n_kv_heads, Some(4));
    assert_eq!(config.lm.rope_theta, 10_000.0);
    assert_eq!(config.lm.rms_norm_epsilon, 1e-6);
    assert_eq!(config.lm.activation, GatedActivation::Silu);
    assert!(!config.lm.sub_norm && !config.lm.tied_embeddings);
    assert_eq!(config.eos_token_ids, [1, 2]);
    let family = |name: &str, heads: usize| {
        let changes = json!({"architectures": [name], "num_attention_heads": heads, "hidden_size": 2 * heads});
        read(changes).unwrap()
    };
    let qwen3 = family("Qwen3ForCausalLM", 32);
    assert_eq!(qwen3.lm.d_head, Some(128));
    assert_eq!(qwen3.lm.qk_norm, QkNorm::PerHead);
    assert_eq!(
        (qwen3.lm.n_kv_heads, qwen3.sliding_window),
        (Some(32), None)
    );
    let qwen2 = family("Qwen2ForCausalLM", 32);
    assert_eq!(qwen2.lm.bias, ProjectionBias::QKV);
    assert_eq!((qwen2.lm.d_head, qwen2.lm.max_positions), (None, 32_768));
    let mistral = family("MistralForCausalLM", 8);
    assert_eq!(mistral.sliding_window, Some(4096));
    assert_eq!(
        (mistral.lm.n_kv_heads, mistral.lm.max_positions),
        (Some(8), 131_072)
    );
}

#[test]
fn null_is_another_number_than_nothing() {
    let mistral = |kv: Value| {
        let changes = json!({"architectures": ["MistralForCausalLM"], "num_attention_heads": 16,
            "num_key_value_heads": kv});
        read(changes).unwrap().lm.n_kv_heads
    };
    assert_eq!(mistral(json!("(missing)")), Some(8));
    assert_eq!(mistral(json!(null)), Some(16));
    assert_eq!(mistral(json!(4)), Some(4));
}

#[test]
fn the_type_of_the_model_stands_in_for_the_architecture() {
    let named =
        |model_type: &str| read(json!({"architectures": "(missing)", "model_type": model_type}));
    assert_eq!(named("llama").unwrap().family, Family::Llama);
    let unknown = named("gpt2").unwrap_err().to_string();
    assert!(unknown.contains("model_type is gpt2"), "{unknown}");
    let changes = json!({"architectures": "(missing)"});
    assert!(error(changes).contains("architectures is missing"));
}

#[test]
fn rope_is_read_in_both_places() {
    let old = json!({"rope_theta": 5.0, "rope_scaling": {"type": "linear", "factor": 2.0}});
    let old = read(old).unwrap().lm;
    assert_eq!(old.rope_theta, 5.0);
    assert_eq!(old.rope_scaling, Some(RopeScaling::Linear { factor: 2.0 }));
    let new = json!({"rope_parameters": {"rope_type": "default", "rope_theta": 7.0}});
    assert_eq!(read(new).unwrap().lm.rope_theta, 7.0);
    // As transformers: the older place and the newer key win.
    let both = json!({"rope_theta": 5.0,
        "rope_scaling": {"type": "llama3", "rope_type": "linear", "factor": 2.0, "rope_theta": 9.0},
        "rope_parameters": {"rope_type": "default", "rope_theta": 7.0}});
    let both = read(both).unwrap().lm;
    assert_eq!(both.rope_theta, 9.0);
    assert_eq!(both.rope_scaling, Some(RopeScaling::Linear { factor: 2.0 }));
}

#[test]
fn yarn_has_the_numbers_of_transformers() {
    let yarn = |rope: Value, beside: Value| {
        let mut changes = json!({"rope_scaling": rope, "max_position_embeddings": 64});
        let fields = changes.as_object_mut().unwrap();
        fields.extend(beside.as_object().unwrap().clone());
        read(changes).map(|config| config.lm.rope_scaling.unwrap())
    };
    let plain = |factor, original_max_positions| RopeScaling::Yarn {
        factor,
        original_max_positions,
        beta_fast: 32.0,
        beta_slow: 1.0,
        truncate: true,
        attention_factor: None,
        mscale: None,
        mscale_all_dim: None,
    };
    let given = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16});
    assert_eq!(yarn(given.clone(), json!({})).unwrap(), plain(4.0, 16));
    let beside = json!({"original_max_position_embeddings": 8});
    assert_eq!(yarn(given, beside).unwrap(), plain(4.0, 8));
    let from_sizes =
        json!({"type": "yarn", "factor": null, "original_max_position_embeddings": 16});
    assert_eq!(yarn(from_sizes, json!({})).unwrap(), plain(4.0, 16));
    let missing = yarn(json!({"rope_type": "yarn"}), json!({})).unwrap_err();
    assert!(
        missing
            .to_string()
            .contains("rope scaling of yarn has no factor")
    );
}

#[test]
fn a_window_counts_where_it_is_used() {
    let window = |changes: Value| read(changes).map(|config| config.sliding_window);
    let qwen = |mut changes: Value| {
        changes["architectures"] = json!(["Qwen2ForCausalLM"]);
        changes["num_key_value_heads"] = json!(4);
        window(changes).unwrap()
    };
    assert_eq!(qwen(json!({"sliding_window": 8})), None);
    let on = json!({"sliding_window": 8, "use_sliding_window": true, "max_window_layers": 1});
    assert_eq!(qwen(on), Some(8));
    let in_no_layer =
        json!({"sliding_window": 8, "use_sliding_window": true, "max_window_layers": 2});
    assert_eq!(qwen(in_no_layer), None);
    let mistral = json!({"architectures": ["MistralForCausalLM"], "num_key_value_heads": 4,
        "sliding_window": null});
    assert_eq!(window(mistral).unwrap(), None);
    assert_eq!(window(json!({"sliding_window": 8})).unwrap(), Some(8));
    let mixed = json!({"layer_types": ["full_attention", "sliding_attention"]});
    assert!(error(mixed).contains("layer_types is sliding_attention"));
}

#[test]
fn a_key_that_nobody_knows_is_listed_with_its_place() {
    let config = read(
        json!({"emb_sclae": 2, "rope_scaling": {"type": "linear", "factor": 2, "x": 1},
        "quantization_config": {"quant_method": "bitnet", "y": 3}, "use_cache": true}),
    );
    let keys: Vec<String> = config
        .unwrap()
        .unknown_keys
        .iter()
        .map(|k| k.key.clone())
        .collect();
    assert_eq!(
        keys,
        ["emb_sclae", "quantization_config.y", "rope_scaling.x"]
    );
}

#[test]
fn biases_and_heads_are_those_of_the_file() {
    let both = read(json!({"attention_bias": true, "mlp_bias": true})).unwrap();
    assert_eq!(both.lm.bias, ProjectionBias::new(true, true, true));
    let heads = |head_dim: Value| read(json!({"head_dim": head_dim})).unwrap().lm.d_head;
    assert_eq!(
        [heads(json!(16)), heads(json!(null)), heads(json!(32))],
        [None, None, Some(32)]
    );
}

#[test]
fn what_has_no_layers_is_refused() {
    for (changes, message) in [
        (
            json!({"architectures": ["GPT2LMHeadModel"]}),
            "architectures is GPT2LMHeadModel, supported is BitNetForCausalLM, ",
        ),
        (
            json!({"hidden_act": "gelu"}),
            "hidden_act is gelu, supported is silu or relu2",
        ),
        (json!({"head_dim": 7}), "head_dim 7 is not even"),
        (
            json!({"architectures": ["BitNetForCausalLM"], "num_key_value_heads": 4, "head_dim": 32}),
            "head_dim is 32, supported is hidden_size / num_attention_heads, 16",
        ),
        (
            json!({"hidden_size": 63}),
            "hidden_size 63 is not an even number",
        ),
        (
            json!({"num_key_value_heads": 3}),
            "no multiple of num_key_value_heads 3",
        ),
        (json!({"vocab_size": 0}), "vocab_size is 0"),
        (json!({"vocab_size": "many"}), "vocab_size: invalid type"),
        (json!({"rope_theta": -1.0}), "rope_theta is -1"),
        (json!({"rms_norm_eps": 0.0}), "rms_norm_eps is 0"),
        (
            json!({"weight_bits": 4}),
            "weight_bits is 4, supported is 1",
        ),
        (
            json!({"quantization_config": {"quant_method": "gptq", "bits": 4}}),
            "quantization_config.quant_method is gptq, supported is bitnet",
        ),
        (
            json!({"quantization_config": {"quant_method": "bitnet", "use_rms_norm": true}}),
            "quantization_config.use_rms_norm is true",
        ),
        (
            json!({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}),
            "rope_scaling.rope_type is dynamic, supported is default, linear",
        ),
        (
            json!({"rope_parameters": {"full_attention": {"rope_type": "default"}}}),
            "rope_parameters.full_attention is an object",
        ),
        (
            json!({"rope_scaling": {"rope_type": "default", "mrope_section": [1, 2]}}),
            "rope_scaling.mrope_section is [1,2]",
        ),
        (
            json!({"partial_rotary_factor": 0.5}),
            "partial_rotary_factor is 0.5, supported is 1",
        ),
        (json!({"logits_scaling": 8}), "logits_scaling is 8"),
        (
            json!({"final_logit_softcapping": 30.0}),
            "final_logit_softcapping is 30",
        ),
        (json!({"num_local_experts": 8}), "num_local_experts is 8"),
        (json!({"pretraining_tp": 2}), "pretraining_tp is 2"),
        (json!({"is_causal": false}), "is_causal is false"),
    ] {
        let error = error(changes);
        assert!(error.contains(message), "{error}");
    }
}
