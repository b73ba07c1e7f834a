use serde_json::{Value, json};

use super::{
    PeftFileError,
    fields::{self, Fields},
    reader::Reader,
    targets,
    tensors::Tensors,
};
use crate::{
    base::key_table::{
        KeyRule::{Harmless, Honored, OffAt},
        KeyTable,
        Off::{Empty, False},
        UnknownKey,
    },
    peft::{Lora, LoraConfig, LoraInit, TargetModules},
};

/// Keys of `adapter_config.json` of LoRA adapters in peft 0.21.
#[rustfmt::skip]
const KEYS: KeyTable = KeyTable(&[
    (Honored, &[
        "peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "bias", "init_lora_weights",
        "rank_pattern", "alpha_pattern", "modules_to_save", "ensure_weight_tying",
    ]),
    (Honored, targets::KEYS),
    (Harmless, fields::ORIGIN),
    // Settings of methods that are off.
    (Harmless, &[
        "megatron_core", "qalora_group_size", "runtime_config", "loftq_config", "corda_config",
        "eva_config", "lora_ga_config",
    ]),
    (OffAt(&[Empty, False]), &[
        "alora_invocation_tokens", "arrow_config", "fan_in_fan_out", "kasa_config", "layer_replication",
        "lora_bias", "megatron_config", "monteclora_config", "target_parameters", "trainable_token_indices",
        "use_bdlora", "use_qalora", "velora_config",
    ]),
]);

/// Reads the configuration of a LoRA adapter. Keys that are absent have peft's defaults.
pub(super) fn read(fields: &Fields<'_>) -> Result<(LoraConfig, Vec<UnknownKey>), PeftFileError> {
    let unknown = fields.check(&KEYS)?;
    let mut config = LoraConfig::new(fields.or("r", 8)?);
    config.alpha = fields.or("lora_alpha", 8.0)?;
    config.dropout = fields.or("lora_dropout", 0.0)?;
    config.use_rslora = fields.or("use_rslora", false)?;
    config.use_dora = fields.or("use_dora", false)?;
    config.bias = fields.or("bias", config.bias)?;
    config.init = init(fields)?;
    config.rank_pattern = fields.or("rank_pattern", Default::default())?;
    config.alpha_pattern = fields.or("alpha_pattern", Default::default())?;
    config.modules_to_save = fields.or("modules_to_save", Vec::new())?;
    config.targets = targets::read(fields, None)?;
    check_tying(fields, &config)?;
    Ok((config, unknown))
}

/// Refuses an adapter of the embedding table that is that of the head, too: here each has its own.
fn check_tying(fields: &Fields<'_>, config: &LoraConfig) -> Result<(), PeftFileError> {
    let is_end = |name: &String| name.ends_with("embed_tokens") || name.ends_with("lm_head");
    let targeted = match &config.targets.target_modules {
        TargetModules::AllLinear => false,
        TargetModules::Names(names) => names.iter().any(is_end),
        TargetModules::Pattern(_) => true,
    };
    let ends = targeted || config.modules_to_save.iter().any(is_end);
    match ends && fields.or("ensure_weight_tying", false)? {
        true => Err(fields.unsupported("ensure_weight_tying", true, false)),
        false => Ok(()),
    }
}

/// Returns the initialization, which says whether the base weight is that of the file of the model.
fn init(fields: &Fields<'_>) -> Result<LoraInit, PeftFileError> {
    match fields.get("init_lora_weights") {
        None | Some(Value::Null | Value::Bool(_)) => Ok(LoraInit::Kaiming),
        Some(Value::String(name)) if name == "gaussian" => Ok(LoraInit::Gaussian),
        Some(Value::String(name)) if name == "orthogonal" => Ok(LoraInit::Orthogonal),
        Some(other) => Err(fields.unsupported(
            "init_lora_weights",
            other.to_string(),
            "true, false, gaussian and orthogonal, which keep the base weight (others: save with \
             path_initial_model_for_weight_conversion)",
        )),
    }
}

/// Returns the configuration as peft reads it: few keys, as all others have defaults.
pub(super) fn write(config: &LoraConfig) -> Value {
    let config = config.clone().into_plain();
    let mut fields = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "inference_mode": true,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "use_rslora": config.use_rslora,
        "use_dora": config.use_dora,
        "bias": config.bias,
    });
    targets::write(&config.targets, &mut fields);
    for (key, pattern) in [
        ("rank_pattern", json!(config.rank_pattern)),
        ("alpha_pattern", json!(config.alpha_pattern)),
    ] {
        if pattern
            .as_object()
            .is_some_and(|pattern| !pattern.is_empty())
        {
            fields[key] = pattern;
        }
    }
    fields
}

/// Adds the tensors of an adapter to those of a file.
pub(super) fn add(tensors: &mut Tensors<'_>, lora: &Lora) -> Result<(), PeftFileError> {
    let lora = lora.clone().into_plain();
    tensors.add("lora_A.weight", lora.a.val().transpose())?;
    tensors.add("lora_B.weight", lora.b.val().transpose())?;
    match &lora.magnitude {
        Some(magnitude) => tensors.add("lora_magnitude_vector", magnitude.val()),
        None => Ok(()),
    }
}

/// Returns the names and shapes of the factors `A` and `B` of a module `[d_input, d_output]`.
pub(super) fn factors(
    module: &str,
    [d_input, d_output]: [usize; 2],
    rank: usize,
) -> [(String, [usize; 2]); 2] {
    [("A", [rank, d_input]), ("B", [d_output, rank])]
        .map(|(factor, shape)| (format!("{module}.lora_{factor}.weight"), shape))
}

/// Fills an adapter with the tensors of a file.
pub(super) fn fill(reader: &mut Reader, module: &str, lora: Lora) -> Lora {
    let device = lora.a.device();
    let [d_input, rank] = lora.a.shape().dims();
    let [_, d_output] = lora.b.shape().dims();
    let [a, b] = factors(module, [d_input, d_output], rank)
        .map(|(name, shape)| reader.take::<2>(name, shape, &device));
    let magnitude = lora.magnitude.is_some().then(|| {
        let name = format!("{module}.lora_magnitude_vector");
        reader.take(name, [d_output], &device)
    });
    let (Some(a), Some(b)) = (a, b) else {
        return lora;
    };
    let mut filled = lora.with_factors(a.transpose(), b.transpose());
    if let Some(Some(magnitude)) = magnitude {
        filled = filled.with_norms(magnitude);
    }
    filled
}
