//! Tests on tensors, written once for every backend: `BURN_DEVICE` selects the one to run on.
//!
//! One binary, because linking Burn takes longer than running the tests.

mod backend {
    mod absmax;
    mod calibration;
    #[cfg(feature = "train")]
    mod calibration_callback;
    mod callback_guards;
    #[cfg(feature = "train")]
    mod callback_strategy;
    #[cfg(feature = "train")]
    mod callbacks;
    mod causal_attention;
    mod causal_attention_reference;
    mod checkpoint;
    #[cfg(feature = "train")]
    mod checkpoint_folder;
    #[cfg(feature = "train")]
    mod checkpoint_metric;
    mod convert;
    mod convert_mixed;
    mod decoder_variants;
    mod degenerate_inputs;
    mod detached_controls;
    #[cfg(feature = "train")]
    mod distiller;
    #[cfg(feature = "train")]
    mod early_stopping;
    #[cfg(feature = "train")]
    mod error_monitor;
    mod fake_equals_packed;
    #[cfg(feature = "train")]
    mod foreign_controls;
    mod from_linear;
    mod fused_bit_linear;
    #[cfg(all(feature = "interop", feature = "text", feature = "train"))]
    mod fuzz_corpus;
    mod gated_activation;
    #[cfg(feature = "interop")]
    mod gguf_blocks;
    #[cfg(feature = "interop")]
    mod gguf_damage;
    #[cfg(feature = "interop")]
    mod gguf_file;
    #[cfg(feature = "interop")]
    mod gguf_metadata;
    #[cfg(feature = "interop")]
    mod gguf_model;
    #[cfg(feature = "interop")]
    mod gguf_round_trip;
    #[cfg(feature = "interop")]
    mod gguf_tokenizer;
    mod hadamard;
    #[cfg(feature = "interop")]
    mod hf_families;
    #[cfg(feature = "interop")]
    mod hf_folder;
    #[cfg(feature = "interop")]
    mod hf_hostile;
    mod kv_cache;
    mod latent_weights;
    mod learned_step;
    #[cfg(feature = "train")]
    mod learning_rate_config;
    #[cfg(all(feature = "train", unix))]
    mod log_destinations;
    mod loss_causal_lm;
    mod loss_configs;
    mod loss_distillation;
    mod loss_distillation_states;
    mod loss_info_nce;
    mod loss_kurtosis;
    mod loss_level_distance;
    mod loss_oscillation_dampening;
    mod loss_reference;
    mod loss_scale_decay;
    mod loss_sparsity;
    mod loss_weight_regularizer;
    mod misuse;
    #[cfg(feature = "train")]
    mod mitigation;
    #[cfg(feature = "train")]
    mod named_callbacks;
    #[cfg(feature = "train")]
    mod no_data;
    mod optim_adamw_8bit;
    mod optim_latent_weights;
    mod optim_learning_rates;
    mod optim_loss_scaler;
    mod optim_mixed_precision;
    mod optim_oscillation;
    mod optim_paged;
    mod optim_qat_optimizer;
    mod oracle;
    mod oracle_adamw;
    mod oracle_bit_linear;
    mod oracle_lm;
    mod oracle_quant;
    mod oracle_training;
    mod packed_gradient;
    mod packed_model;
    mod packing;
    mod prepare;
    mod prepare_errors;
    mod prepare_head;
    mod property_table;
    mod quant_controls;
    mod quantization_error;
    #[cfg(all(feature = "interop", feature = "text", feature = "train"))]
    mod readers;
    mod record_scheme;
    #[cfg(feature = "train")]
    mod resume;
    mod rms_norm;
    #[cfg(feature = "train")]
    mod rollback;
    mod rotary_embedding;
    #[cfg(all(feature = "text", feature = "train"))]
    mod seekable_loaders;
    mod sensitivity;
    mod straight_through;
    #[cfg(feature = "train")]
    mod teacher_logits;
    mod ternary;
    #[cfg(feature = "text")]
    mod text_chat;
    #[cfg(feature = "text")]
    mod text_datasets;
    #[cfg(feature = "text")]
    mod text_generation;
    #[cfg(feature = "text")]
    mod text_records;
    #[cfg(feature = "text")]
    mod text_token_files;
    #[cfg(feature = "text")]
    mod text_tokenizer;
    mod tied_parameters;
    #[cfg(all(feature = "text", feature = "train"))]
    mod token_loss;
    mod toy_runs;
    #[cfg(feature = "train")]
    mod train_faults;
    #[cfg(all(feature = "text", feature = "train"))]
    mod trainer;
    #[cfg(feature = "train")]
    mod training;
    #[cfg(feature = "train")]
    mod training_config;
    #[cfg(feature = "train")]
    mod training_failure;
    #[cfg(feature = "train")]
    mod training_sequences;
    mod transformer_reference;
    mod values;
}
