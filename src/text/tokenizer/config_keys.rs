//! Keys of `tokenizer_config.json`.

use std::path::Path;

use serde_json::{Map, Value};

use crate::{
    base::key_table::{
        KeyRule::{Harmless, Honored, OffAt},
        KeyTable, Off, UnknownKey,
    },
    text::TextError,
};

/// Name of the file.
pub(super) const CONFIG_FILE: &str = "tokenizer_config.json";

const SPLITS_SPECIAL_TOKENS: &str = "split_special_tokens";

/// Keys that transformers reads beside a `tokenizer.json`, and further keys of such files.
#[rustfmt::skip]
const TABLE: KeyTable = KeyTable(&[
    (Honored, &[
        "added_tokens_decoder", "additional_special_tokens", "chat_template",
        "extra_special_tokens", SPLITS_SPECIAL_TOKENS, "tokenizer_class", "add_prefix_space",
    ]),
    // tokenizer.json defines the special tokens around a text.
    (Harmless, &["add_bos_token", "add_eos_token"]),
    // Conversion from other formats; tokenizer.json is its result.
    (Harmless, &[
        "add_dummy_prefix_space", "do_lower_case", "errors", "from_slow", "keep_accents", "legacy",
        "merges_file", "sp_model_kwargs", "spaces_between_special_tokens", "strip_accents",
        "tokenize_chinese_chars", "tokenizer_file", "use_fast", "vocab_file",
    ]),
    (OffAt(&[Off::Empty, Off::Number(0.0)]), &["bpe_dropout"]),
    // Decoding; transformers skips it for BPE, too.
    (Harmless, &["clean_up_tokenization_spaces"]),
    (OffAt(&[Off::Empty, Off::False]), &[
        "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output",
    ]),
    // Another pre-tokenizer than that of tokenizer.json.
    (OffAt(&[Off::Empty, Off::False]), &["fix_mistral_regex"]),
    // Batches, which are not built here.
    (Harmless, &[
        "max_length", "max_len", "model_input_names", "model_max_length", "pad_to_multiple_of",
        "pad_token_type_id", "padding", "padding_side", "return_token_type_ids", "stride",
        "truncation", "truncation_side", "truncation_strategy",
    ]),
    // Metadata of the files and of the programs that wrote them.
    (Harmless, &[
        "_commit_hash", "_name_or_path", "auto_map", "backend", "chat_control_tokens", "device_map",
        "fast_tokenizer_files", "init_inputs", "is_local", "local_files_only",
        "model_specific_special_tokens", "model_type", "name_or_path", "processor_class",
        "response_schema", "special_tokens_map_file", "transformers_version", "trust_remote_code",
        "use_default_system_prompt",
    ]),
]);

/// Classes of transformers whose `add_prefix_space` overrides that of `tokenizer.json`.
const PREFIX_SPACE_CLASSES: [&str; 6] = [
    "GPT2Tokenizer",
    "RobertaTokenizer",
    "CodeGenTokenizer",
    "CohereTokenizer",
    "DebertaTokenizer",
    "BlenderbotTokenizer",
];

/// Checks a configuration and returns its unknown keys.
///
/// # Errors
///
/// If a key asks for another tokenization than that of `tokenizer.json`.
pub(super) fn check(
    config: &Map<String, Value>,
    json: &Value,
    tokenizer: &tokenizers::Tokenizer,
    path: &Path,
) -> Result<Vec<UnknownKey>, TextError> {
    check_added_tokens(config, tokenizer, path)?;
    check_prefix_space(config, json, path)?;
    let keys = config.iter().map(|(key, value)| (key.as_str(), value));
    // Names of special tokens, including those of the model.
    let keys = keys.filter(|(key, _)| key.starts_with("add_") || !key.ends_with("_token"));
    let checked = TABLE.check(CONFIG_FILE, keys);
    checked.map_err(|refused| {
        TextError::value(
            path,
            format!("`{}`", refused.key),
            refused.supported,
            refused.found,
        )
    })
}

/// Returns whether special tokens in a text are encoded as plain text.
pub(super) fn splits_special_tokens(config: &Map<String, Value>) -> bool {
    config.get(SPLITS_SPECIAL_TOKENS) == Some(&Value::Bool(true))
}

/// Rejects added tokens that `tokenizer.json` does not have: transformers would add them and match them
/// in a text.
fn check_added_tokens(
    config: &Map<String, Value>,
    tokenizer: &tokenizers::Tokenizer,
    path: &Path,
) -> Result<(), TextError> {
    for key in [
        "added_tokens_decoder",
        "additional_special_tokens",
        "extra_special_tokens",
    ] {
        let tokens: Vec<&Value> = match config.get(key) {
            Some(Value::Object(tokens)) => tokens.values().collect(),
            Some(Value::Array(tokens)) => tokens.iter().collect(),
            _ => continue,
        };
        for token in tokens {
            let text = token.as_str().or(token["content"].as_str());
            if text.is_none_or(|text| tokenizer.token_to_id(text).is_none()) {
                let expected = "tokens that tokenizer.json has";
                return Err(TextError::value(
                    path,
                    format!("`{key}`"),
                    expected,
                    token.to_string(),
                ));
            }
        }
    }
    Ok(())
}

fn check_prefix_space(
    config: &Map<String, Value>,
    json: &Value,
    path: &Path,
) -> Result<(), TextError> {
    let class = config
        .get("tokenizer_class")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let class = class.strip_suffix("Fast").unwrap_or(class);
    let pre_tokenizer = &json["pre_tokenizer"];
    let of_tokenizer = pre_tokenizer["add_prefix_space"].as_bool();
    let of_config = config.get("add_prefix_space").and_then(Value::as_bool);
    match (of_config, of_tokenizer) {
        (Some(asked), Some(built))
            if asked != built
                && pre_tokenizer["type"] == "ByteLevel"
                && PREFIX_SPACE_CLASSES.contains(&class) =>
        {
            let expected = format!("{built}, as in tokenizer.json");
            Err(TextError::value(
                path,
                "`add_prefix_space`",
                expected,
                asked.to_string(),
            ))
        }
        _ => Ok(()),
    }
}
