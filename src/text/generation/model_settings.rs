//! Keys of a model's `generation_config.json`.

use std::path::Path;

use crate::{
    base::key_table::{
        KeyRule::{Harmless, Honored, OffAt},
        KeyTable, Off, UnknownKey,
    },
    text::{TextError, tokenizer::json_file},
};

const FILE: &str = "generation_config.json";

const EMPTY: &[Off] = &[Off::Empty];
const EMPTY_OR_0: &[Off] = &[Off::Empty, Off::Number(0.0)];
const EMPTY_OR_1: &[Off] = &[Off::Empty, Off::Number(1.0)];
const EMPTY_OR_FALSE: &[Off] = &[Off::Empty, Off::False];

#[rustfmt::skip]
const TABLE: KeyTable = KeyTable(&[
    (Honored, &["eos_token_id", "bos_token_id"]),
    // Defaults of settings that the caller chooses.
    (Harmless, &[
        "do_sample", "max_length", "max_new_tokens", "min_p", "repetition_penalty", "temperature",
        "top_k", "top_p",
    ]),
    // Choice of tokens and stop conditions.
    (OffAt(EMPTY), &[
        "bad_words_ids", "begin_suppress_tokens", "constraints", "dola_layers",
        "exponential_decay_length_penalty", "force_words_ids", "forced_bos_token_id",
        "forced_decoder_ids", "forced_eos_token_id", "max_time", "sequence_bias", "stop_strings",
        "suppress_tokens", "watermarking_config",
    ]),
    (OffAt(EMPTY_OR_0), &[
        "diversity_penalty", "encoder_no_repeat_ngram_size", "epsilon_cutoff", "eta_cutoff",
        "min_length", "min_new_tokens", "no_repeat_ngram_size", "penalty_alpha",
    ]),
    (OffAt(EMPTY_OR_1), &[
        "encoder_repetition_penalty", "guidance_scale", "num_beam_groups", "num_beams", "top_h",
        "typical_p",
    ]),
    (OffAt(EMPTY_OR_FALSE), &["remove_invalid_values", "token_healing"]),
    // Beam search and encoder-decoder models.
    (Harmless, &[
        "decoder_start_token_id", "early_stopping", "length_penalty", "low_memory",
        "num_return_sequences", "renormalize_logits",
    ]),
    // Computation and additional outputs.
    (Harmless, &[
        "assistant_confidence_threshold", "assistant_early_exit", "assistant_ensemble_weight",
        "assistant_lookbehind", "cache_config", "cache_implementation", "compile_config",
        "continuous_batching_config", "disable_compile", "is_assistant", "max_cache_len",
        "max_matching_ngram_size", "num_assistant_tokens", "num_assistant_tokens_schedule",
        "output_attentions", "output_hidden_states", "output_logits", "output_scores",
        "prefill_chunk_size", "prompt_lookup_num_tokens", "return_dict_in_generate",
        "speculation_type", "target_lookbehind", "use_cache", "use_mtp",
    ]),
    // Batches and metadata of the file.
    (Harmless, &["_commit_hash", "_from_model_config", "pad_token_id", "transformers_version"]),
]);

/// Reads `generation_config.json` of a model's folder, except for the end-of-text tokens, which the
/// [`Tokenizer`](crate::text::Tokenizer) reads. Returns the unknown keys.
///
/// Temperature, filters and length are set by [`GenerationConfig`](super::GenerationConfig).
///
/// # Errors
///
/// If the file is not a JSON object, or asks for an unsupported setting that changes the generated text,
/// such as suppressed tokens.
pub fn check_generation_settings(folder: impl AsRef<Path>) -> Result<Vec<UnknownKey>, TextError> {
    let path = folder.as_ref().join(FILE);
    let settings = json_file(&path)?.unwrap_or_default();
    let keys = settings.iter().map(|(key, value)| (key.as_str(), value));
    TABLE.check(FILE, keys).map_err(|refused| {
        TextError::value(
            &path,
            format!("`{}`", refused.key),
            refused.supported,
            refused.found,
        )
    })
}
