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

const TABLE: KeyTable = KeyTable(&[
    ("eos_token_id", Honored),
    ("bos_token_id", Honored),
    // Defaults of settings that the caller chooses.
    ("do_sample", Harmless),
    ("max_length", Harmless),
    ("max_new_tokens", Harmless),
    ("min_p", Harmless),
    ("repetition_penalty", Harmless),
    ("temperature", Harmless),
    ("top_k", Harmless),
    ("top_p", Harmless),
    // Choice of tokens and stop conditions.
    ("bad_words_ids", OffAt(EMPTY)),
    ("begin_suppress_tokens", OffAt(EMPTY)),
    ("constraints", OffAt(EMPTY)),
    ("diversity_penalty", OffAt(EMPTY_OR_0)),
    ("dola_layers", OffAt(EMPTY)),
    ("encoder_no_repeat_ngram_size", OffAt(EMPTY_OR_0)),
    ("encoder_repetition_penalty", OffAt(EMPTY_OR_1)),
    ("epsilon_cutoff", OffAt(EMPTY_OR_0)),
    ("eta_cutoff", OffAt(EMPTY_OR_0)),
    ("exponential_decay_length_penalty", OffAt(EMPTY)),
    ("force_words_ids", OffAt(EMPTY)),
    ("forced_bos_token_id", OffAt(EMPTY)),
    ("forced_decoder_ids", OffAt(EMPTY)),
    ("forced_eos_token_id", OffAt(EMPTY)),
    ("guidance_scale", OffAt(EMPTY_OR_1)),
    ("max_time", OffAt(EMPTY)),
    ("min_length", OffAt(EMPTY_OR_0)),
    ("min_new_tokens", OffAt(EMPTY_OR_0)),
    ("no_repeat_ngram_size", OffAt(EMPTY_OR_0)),
    ("num_beam_groups", OffAt(EMPTY_OR_1)),
    ("num_beams", OffAt(EMPTY_OR_1)),
    ("penalty_alpha", OffAt(EMPTY_OR_0)),
    ("remove_invalid_values", OffAt(EMPTY_OR_FALSE)),
    ("sequence_bias", OffAt(EMPTY)),
    ("stop_strings", OffAt(EMPTY)),
    ("suppress_tokens", OffAt(EMPTY)),
    ("token_healing", OffAt(EMPTY_OR_FALSE)),
    ("top_h", OffAt(EMPTY_OR_1)),
    ("typical_p", OffAt(EMPTY_OR_1)),
    ("watermarking_config", OffAt(EMPTY)),
    // Beam search and encoder-decoder models.
    ("decoder_start_token_id", Harmless),
    ("early_stopping", Harmless),
    ("length_penalty", Harmless),
    ("low_memory", Harmless),
    ("num_return_sequences", Harmless),
    ("renormalize_logits", Harmless),
    // Computation and additional outputs.
    ("assistant_confidence_threshold", Harmless),
    ("assistant_early_exit", Harmless),
    ("assistant_ensemble_weight", Harmless),
    ("assistant_lookbehind", Harmless),
    ("cache_config", Harmless),
    ("cache_implementation", Harmless),
    ("compile_config", Harmless),
    ("continuous_batching_config", Harmless),
    ("disable_compile", Harmless),
    ("is_assistant", Harmless),
    ("max_cache_len", Harmless),
    ("max_matching_ngram_size", Harmless),
    ("num_assistant_tokens", Harmless),
    ("num_assistant_tokens_schedule", Harmless),
    ("output_attentions", Harmless),
    ("output_hidden_states", Harmless),
    ("output_logits", Harmless),
    ("output_scores", Harmless),
    ("prefill_chunk_size", Harmless),
    ("prompt_lookup_num_tokens", Harmless),
    ("return_dict_in_generate", Harmless),
    ("speculation_type", Harmless),
    ("target_lookbehind", Harmless),
    ("use_cache", Harmless),
    ("use_mtp", Harmless),
    // Batches and metadata of the file.
    ("_commit_hash", Harmless),
    ("_from_model_config", Harmless),
    ("pad_token_id", Harmless),
    ("transformers_version", Harmless),
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn settings_that_change_the_text_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_generation_settings(&folder).unwrap().is_empty());
        let check = |json: &str| {
            fs::write(folder.path().join(FILE), json).unwrap();
            check_generation_settings(&folder)
        };
        let known = r#"{"eos_token_id": [2, 3], "temperature": 0.6, "num_beams": 1, "suppress_tokens": null}"#;
        assert!(check(known).unwrap().is_empty());
        let error = check(r#"{"suppress_tokens": [7]}"#)
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("`suppress_tokens`: expected null or empty, found [7]"),
            "{error}"
        );
        let unknown = check(r#"{"temprature": 0.6}"#).unwrap();
        assert_eq!(
            unknown[0].to_string(),
            "generation_config.json: temprature = 0.6"
        );
        assert!(check("[]").is_err());
    }
}
