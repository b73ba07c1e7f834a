use crate::base::key_table::{
    KeyRule::{Harmless, Honored, OffAt},
    KeyTable,
    Off::{Empty, False},
};

/// Keys of `adapter_config.json` of LoRA adapters in peft 0.21.
#[rustfmt::skip]
pub(super) const KEYS: KeyTable = KeyTable(&[
    (Honored, &[
        "peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "bias", "init_lora_weights",
        "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "rank_pattern",
        "alpha_pattern", "modules_to_save",
    ]),
    // Where the adapter comes from, and settings of methods that are off.
    (Harmless, &[
        "auto_mapping", "base_model_name_or_path", "ensure_weight_tying", "inference_mode", "megatron_core",
        "peft_version", "qalora_group_size", "revision", "runtime_config", "task_type", "loftq_config",
        "corda_config", "eva_config", "lora_ga_config",
    ]),
    (OffAt(&[Empty, False]), &[
        "alora_invocation_tokens", "arrow_config", "fan_in_fan_out", "kasa_config", "layer_replication",
        "lora_bias", "megatron_config", "monteclora_config", "target_parameters", "trainable_token_indices",
        "use_bdlora", "use_qalora", "velora_config",
    ]),
]);
