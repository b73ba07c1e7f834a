//! The keys of `config.json`, and what each does to a model.

use crate::base::key_table::{KeyRule, KeyTable, Off};
use KeyRule::{Harmless, Honored, OffAt};

const EMPTY: KeyRule = OffAt(&[Off::Empty]);
const FALSE: KeyRule = OffAt(&[Off::Empty, Off::False]);
const TRUE: KeyRule = OffAt(&[Off::Empty, Off::True]);
const ZERO: KeyRule = OffAt(&[Off::Empty, Off::Number(0.0)]);
const ONE: KeyRule = OffAt(&[Off::Empty, Off::Number(1.0)]);
const NONE_OR_FALSE_OR_ZERO: KeyRule = OffAt(&[Off::Empty, Off::False, Off::Number(0.0)]);

/// Keys of the file itself.
///
/// Dropouts are harmless: they are for training with transformers, and this crate has none. So are the
/// choices of transformers' `generate`, which does not change logits.
#[rustfmt::skip]
pub(super) const CONFIG: KeyTable = KeyTable(&[
    // Read.
    (Honored, &[
        "architectures", "model_type", "vocab_size", "hidden_size", "intermediate_size",
        "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
        "max_position_embeddings", "rms_norm_eps", "hidden_act", "tie_word_embeddings",
        "attention_bias", "mlp_bias", "rope_theta", "rope_scaling", "rope_parameters",
        "original_max_position_embeddings", "partial_rotary_factor", "sliding_window",
        "use_sliding_window", "max_window_layers", "layer_types", "weight_bits", "input_bits",
        "quantization_config", "bos_token_id", "eos_token_id", "pad_token_id",
    ]),
    // Of the program that wrote the file, or of its training.
    (Harmless, &[
        "_name_or_path", "name_or_path", "_attn_implementation", "_attn_implementation_autoset",
        "attn_implementation", "_flash_attn_2_enabled", "_commit_hash", "attention_dropout",
        "attention_probs_dropout_prob", "attn_pdrop", "auto_map", "classifier_dropout", "dtype",
        "embd_pdrop", "finetuning_task", "hidden_dropout", "hidden_dropout_prob", "id2label",
        "initializer_range", "is_decoder", "label2id", "language", "license", "output_attentions",
        "output_hidden_states", "output_router_logits", "prefix", "problem_type", "resid_pdrop",
        "return_dict", "return_dict_in_generate", "task_specific_params", "tf_legacy_loss",
        "tie_encoder_decoder", "tokenizer_class", "torch_dtype", "torchscript",
        "transformers_version", "transformers.js_config", "unsloth_fixed", "unsloth_version",
        "use_bfloat16", "use_cache", "use_mambapy",
    ]),
    // Of how texts are made of logits.
    (Harmless, &[
        "bad_words_ids", "begin_suppress_tokens", "chunk_size_feed_forward",
        "decoder_start_token_id", "diversity_penalty", "do_sample", "early_stopping",
        "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "forced_bos_token_id",
        "forced_eos_token_id", "length_penalty", "max_length", "max_new_tokens", "min_length",
        "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences",
        "output_scores", "remove_invalid_values", "repetition_penalty", "sep_token_id",
        "suppress_tokens", "temperature", "top_k", "top_p", "typical_p",
    ]),
    // Factors of logits, embeddings and residuals, and caps.
    (EMPTY, &[
        "attention_multiplier", "attn_logit_softcapping", "attn_scale", "dim_model_base",
        "final_logit_softcapping", "floor_scale", "query_pre_attn_scalar", "scale_depth",
    ]),
    (NONE_OR_FALSE_OR_ZERO, &["attn_temperature_tuning"]),
    (ONE, &[
        "embedding_multiplier", "lm_head_multiplier", "logit_scale", "logits_scaling",
        "residual_multiplier", "scale_emb",
    ]),
    (FALSE, &["mup_enabled", "use_mup"]),
    // Other attentions.
    (FALSE, &[
        "add_cross_attention", "alibi", "is_encoder_decoder", "multi_query", "qk_layernorm",
        "qk_norm", "rope_interleave", "rope_interleaved", "rope_traditional", "use_alibi",
        "use_bidirectional_attention", "use_qk_norm",
    ]),
    (EMPTY, &[
        "attention_chunk_size", "clip_qkv", "cross_attention_hidden_size", "no_rope_layer_interval",
        "no_rope_layers", "pruned_heads", "rotary_dim",
    ]),
    (TRUE, &["is_causal"]),
    (OffAt(&[Off::Empty, Off::Text("rope")]), &["position_embedding_type"]),
    (ONE, &["pretraining_tp", "rotary_pct"]),
    // Latent attention.
    (EMPTY, &["kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"]),
    // Other blocks.
    (FALSE, &[
        "bias", "head_bias", "lm_head_bias", "o_bias", "parallel_attn", "parallel_residual",
        "qkv_bias", "sandwich_norm", "use_bias", "use_parallel_residual",
    ]),
    (EMPTY, &[
        "hidden_activation", "layer_norm_eps", "layer_norm_epsilon", "mlp_only_layers",
        "moe_intermediate_size", "norm_type", "per_layer_config",
    ]),
    (ZERO, &[
        "n_routed_experts", "n_shared_experts", "num_experts", "num_experts_per_tok",
        "num_local_experts", "num_nextn_predict_layers",
    ]),
]);

/// Keys of `rope_scaling` and `rope_parameters`. Those of another kind of scaling have no effect.
#[rustfmt::skip]
pub(super) const ROPE: KeyTable = KeyTable(&[
    (Honored, &[
        "rope_type", "type", "rope_theta", "factor", "low_freq_factor", "high_freq_factor",
        "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow", "mscale",
        "mscale_all_dim", "truncate", "short_factor", "long_factor", "partial_rotary_factor",
    ]),
    // That a model was trained with the scaling, in the first files of YaRN.
    (Harmless, &["finetuned"]),
    (EMPTY, &["alpha", "long_mscale", "mrope_section", "short_mscale"]),
    (ONE, &["attn_factor", "extrapolation_factor"]),
    (FALSE, &["mrope_interleaved"]),
]);

/// Keys of `quantization_config` of BitNet.
#[rustfmt::skip]
pub(super) const BITNET: KeyTable = KeyTable(&[
    (Honored, &["quant_method", "linear_class", "quantization_mode", "modules_to_not_convert"]),
    (FALSE, &["use_rms_norm"]),
    // Of the norms that `use_rms_norm` asks for.
    (Harmless, &["rms_norm_eps"]),
]);

/// Keys of `quantization_config` of bitsandbytes.
#[rustfmt::skip]
pub(super) const BITSANDBYTES: KeyTable = KeyTable(&[
    (Honored, &[
        "quant_method", "load_in_4bit", "load_in_8bit", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant",
        "bnb_4bit_compute_dtype", "bnb_4bit_quant_storage", "llm_int8_skip_modules",
    ]),
    // The same once more, as transformers stores them and does not read them.
    (Harmless, &["_load_in_4bit", "_load_in_8bit"]),
    // Of 8 bits, and of the place of modules.
    (Harmless, &["llm_int8_threshold", "llm_int8_has_fp16_weight", "llm_int8_enable_fp32_cpu_offload"]),
]);
