//! `config.json` as transformers expects it.

use serde_json::{Value, json};

use super::{Family, quantization::QuantizationConfig};
use crate::{
    interop::PretrainedLm,
    nn::{BitNetLmConfig, GatedActivation, RopeScaling},
};

/// The configuration of a model that is written.
pub(super) fn config_json(
    model: &PretrainedLm,
    family: Family,
    dtype: &str,
    quantization: Option<QuantizationConfig>,
) -> Value {
    let config = &model.config;
    let mut json = json!({
        "architectures": [family.architecture()],
        "model_type": family.model_type(),
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.key_value_heads(),
        "head_dim": config.head_size(),
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.rms_norm_epsilon,
        "hidden_act": match config.activation {
            GatedActivation::SquaredRelu => "relu2",
            GatedActivation::Silu => "silu",
        },
        "tie_word_embeddings": config.tied_embeddings,
        "attention_bias": config.bias.output,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "use_cache": true,
        // Two generations of transformers look in two places.
        "rope_theta": config.rope_theta,
        "rope_parameters": rope_parameters(config),
        "dtype": dtype,
        "torch_dtype": dtype,
        "bos_token_id": model.bos_token_id,
        "eos_token_id": match model.eos_token_ids.as_slice() {
            [] => Value::Null,
            [id] => json!(id),
            ids => json!(ids),
        },
        "pad_token_id": model.pad_token_id,
    });
    if config.rope_scaling.is_some() {
        json["rope_scaling"] = rope_parameters(config);
    }
    match family {
        Family::Llama => json["mlp_bias"] = json!(config.bias.feed_forward),
        // Their classes have windows where nothing is said.
        Family::Mistral => json["sliding_window"] = Value::Null,
        Family::Qwen2 | Family::Qwen3 => {
            json["use_sliding_window"] = json!(false);
            json["sliding_window"] = Value::Null;
        }
        Family::OneBitLlm => {
            json["weight_bits"] = json!(1);
            json["input_bits"] = json!(8);
        }
        Family::BitNet => {}
    }
    if let Some(quantization) = quantization {
        json["quantization_config"] = quantization.json();
    }
    json
}

/// The rotary positions, and what is needed to compute them again.
fn rope_parameters(config: &BitNetLmConfig) -> Value {
    let mut json = match &config.rope_scaling {
        None => json!({"rope_type": "default"}),
        Some(scaling) => scaling_json(scaling),
    };
    json["rope_theta"] = json!(config.rope_theta);
    json
}

/// A scaling under the names of transformers, which are those of [`RopeScaling`] but for one.
fn scaling_json(scaling: &RopeScaling) -> Value {
    let tagged = json!(scaling);
    let tagged = tagged.as_object().and_then(|kinds| kinds.iter().next());
    let (rope_type, numbers) = tagged.expect("an enum of variants with fields");
    let mut json = json!({"rope_type": rope_type});
    let numbers = numbers.as_object().into_iter().flatten();
    for (name, number) in numbers.filter(|(_, number)| !number.is_null()) {
        let key = match name.as_str() {
            "original_max_positions" => "original_max_position_embeddings",
            other => other,
        };
        json[key] = number.clone();
    }
    json
}
