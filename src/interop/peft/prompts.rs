//! Prompts in the files of peft: one tensor of values, without the encoder that they were trained by.

use burn::tensor::Tensor;
use serde_json::{Value, json};

use super::{
    PeftFileError,
    fields::{self, Fields},
};
use crate::{
    base::key_table::{
        KeyRule::{Harmless, Honored},
        KeyTable, UnknownKey,
    },
    nn::{Prompt, PromptKind},
    peft::{
        PTuningConfig, PeftConfig, PrefixInit, PrefixTuningConfig, PromptSize, PromptTuningConfig,
        PromptTuningInit,
    },
};

/// Keys of all prompts in peft 0.21.
const PROMPT: &[&str] = &[
    "peft_type",
    "num_virtual_tokens",
    "num_transformer_submodules",
    "token_dim",
    "num_layers",
    "num_attention_heads",
    "modules_to_save",
];

const PREFIX_KEYS: KeyTable = KeyTable(&[
    (Honored, PROMPT),
    (
        Honored,
        &["prefix_projection", "encoder_hidden_size", "init_weights"],
    ),
    (Harmless, fields::ORIGIN),
]);

const P_TUNING_KEYS: KeyTable = KeyTable(&[
    (Honored, PROMPT),
    (
        Honored,
        &["encoder_reparameterization_type", "encoder_hidden_size"],
    ),
    (Harmless, fields::ORIGIN),
    // Of an LSTM.
    (Harmless, &["encoder_num_layers", "encoder_dropout"]),
]);

const PROMPT_TUNING_KEYS: KeyTable = KeyTable(&[
    (Honored, PROMPT),
    (Honored, &["prompt_tuning_init"]),
    (Harmless, fields::ORIGIN),
    // Of a text, whose embeddings have become the values.
    (
        Harmless,
        &[
            "encoder_hidden_size",
            "prompt_tuning_init_text",
            "tokenizer_kwargs",
            "tokenizer_name_or_path",
        ],
    ),
]);

/// Reads the configuration of prefix tuning.
pub(super) fn read_prefix(
    fields: &Fields<'_>,
) -> Result<(PrefixTuningConfig, Vec<UnknownKey>), PeftFileError> {
    let unknown = fields.check(&PREFIX_KEYS)?;
    let mut config = PrefixTuningConfig::new(fields.required("num_virtual_tokens")?);
    config.prefix_projection = fields.or("prefix_projection", false)?;
    config.encoder_hidden_size = fields.or("encoder_hidden_size", None)?;
    config.init_weights = fields.or("init_weights", PrefixInit::Normal)?;
    config.modules_to_save = fields.or("modules_to_save", Vec::new())?;
    config.size = size(fields)?;
    Ok((config, unknown))
}

/// Reads the configuration of P-tuning.
pub(super) fn read_p_tuning(
    fields: &Fields<'_>,
) -> Result<(PTuningConfig, Vec<UnknownKey>), PeftFileError> {
    let unknown = fields.check(&P_TUNING_KEYS)?;
    let encoder: String = fields.or("encoder_reparameterization_type", "MLP".to_string())?;
    if encoder != "MLP" {
        return Err(fields.unsupported("encoder_reparameterization_type", encoder, "MLP"));
    }
    let mut config = PTuningConfig::new(fields.required("num_virtual_tokens")?);
    config.encoder_hidden_size = fields.or("encoder_hidden_size", None)?;
    config.modules_to_save = fields.or("modules_to_save", Vec::new())?;
    config.size = size(fields)?;
    Ok((config, unknown))
}

/// Reads the configuration of prompt tuning; a `TEXT`, whose embeddings have become the values, is read as `RANDOM`.
pub(super) fn read_prompt_tuning(
    fields: &Fields<'_>,
) -> Result<(PromptTuningConfig, Vec<UnknownKey>), PeftFileError> {
    let unknown = fields.check(&PROMPT_TUNING_KEYS)?;
    let mut config = PromptTuningConfig::new(fields.required("num_virtual_tokens")?);
    config.prompt_tuning_init = match fields.get("prompt_tuning_init").and_then(Value::as_str) {
        Some("TEXT") => PromptTuningInit::Random,
        _ => fields.or("prompt_tuning_init", PromptTuningInit::Random)?,
    };
    config.modules_to_save = fields.or("modules_to_save", Vec::new())?;
    config.size = size(fields)?;
    Ok((config, unknown))
}

/// Reads the sizes of the model, which has a decoder alone.
fn size(fields: &Fields<'_>) -> Result<PromptSize, PeftFileError> {
    let submodules: usize = fields.or("num_transformer_submodules", 1)?;
    if submodules != 1 {
        return Err(fields.unsupported("num_transformer_submodules", submodules, "1"));
    }
    Ok(PromptSize {
        token_dim: fields.or("token_dim", None)?,
        num_layers: fields.or("num_layers", None)?,
        num_attention_heads: fields.or("num_attention_heads", None)?,
    })
}

/// Returns the configuration of prefix tuning as peft reads it.
pub(super) fn write_prefix(config: &PrefixTuningConfig) -> Value {
    let mut fields = write("PREFIX_TUNING", config.num_virtual_tokens, &config.size);
    fields["prefix_projection"] = json!(config.prefix_projection);
    fields["encoder_hidden_size"] = json!(config.encoder_hidden_size);
    fields["init_weights"] = match config.init_weights {
        PrefixInit::Normal => Value::Null,
        PrefixInit::Zero => json!("zero"),
    };
    fields
}

/// Returns the configuration of P-tuning as peft reads it.
pub(super) fn write_p_tuning(config: &PTuningConfig) -> Value {
    let mut fields = write("P_TUNING", config.num_virtual_tokens, &config.size);
    fields["encoder_reparameterization_type"] = json!("MLP");
    fields["encoder_hidden_size"] = json!(config.encoder_hidden_size);
    fields
}

/// Returns the configuration of prompt tuning as peft reads it. Tokens are none of its settings, and have become values.
pub(super) fn write_prompt_tuning(config: &PromptTuningConfig) -> Value {
    let mut fields = write("PROMPT_TUNING", config.num_virtual_tokens, &config.size);
    fields["prompt_tuning_init"] = match config.prompt_tuning_init {
        PromptTuningInit::SampleVocab => json!("SAMPLE_VOCAB"),
        PromptTuningInit::Random | PromptTuningInit::Tokens(_) => json!("RANDOM"),
    };
    fields
}

fn write(peft_type: &str, num_virtual_tokens: usize, size: &PromptSize) -> Value {
    json!({
        "peft_type": peft_type,
        "task_type": "CAUSAL_LM",
        "inference_mode": true,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": num_virtual_tokens,
        "token_dim": size.token_dim,
        "num_layers": size.num_layers,
        "num_attention_heads": size.num_attention_heads,
    })
}

/// Returns the configuration of the values that a file holds: without the encoder that computed them.
pub(super) fn folded(config: &PeftConfig) -> PeftConfig {
    match config {
        PeftConfig::PrefixTuning(config) => {
            let mut values = config.clone();
            values.prefix_projection = false;
            values.into()
        }
        PeftConfig::PTuning(config) => {
            let mut values = PromptTuningConfig::new(config.num_virtual_tokens);
            values.size = config.size.clone();
            values.modules_to_save = config.modules_to_save.clone();
            values.into()
        }
        other => other.clone(),
    }
}

/// Returns in which way an adapter, `None` if it is no prompt, is not one of a configuration.
pub(super) fn mismatch(prompt: Option<&Prompt>, config: &PeftConfig) -> Option<String> {
    let of_config = match config {
        PeftConfig::PrefixTuning(config) => Some((PromptKind::Prefix, config.num_virtual_tokens)),
        PeftConfig::PTuning(config) => Some((PromptKind::Input, config.num_virtual_tokens)),
        PeftConfig::PromptTuning(config) => Some((PromptKind::Input, config.num_virtual_tokens)),
        _ => None,
    };
    let found = prompt.map(|prompt| (prompt.kind(), prompt.n_virtual()));
    let named = |prompt: Option<(PromptKind, usize)>| match prompt {
        Some((PromptKind::Prefix, n)) => format!("a prefix of {n} virtual tokens"),
        Some((PromptKind::Input, n)) => format!("a prompt of {n} virtual tokens"),
        None => "an adapter of projections".to_string(),
    };
    (found != of_config).then(|| {
        let (expected, found) = (named(of_config), named(found));
        format!("the configuration is one of {expected}, and the model has {found}")
    })
}

/// Returns the values that a file holds.
pub(super) fn values(prompt: &Prompt) -> Tensor<2> {
    prompt.values().without_autodiff()
}
