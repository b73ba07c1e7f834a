//! Keys of tokenizers in the metadata.

use super::TokenizerError;

pub const MODEL: &str = "tokenizer.ggml.model";
pub const PRE: &str = "tokenizer.ggml.pre";
pub const TOKENS: &str = "tokenizer.ggml.tokens";
pub const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
pub const SCORES: &str = "tokenizer.ggml.scores";
pub const MERGES: &str = "tokenizer.ggml.merges";
pub const BOS_ID: &str = "tokenizer.ggml.bos_token_id";
pub const EOS_ID: &str = "tokenizer.ggml.eos_token_id";
pub const EOT_ID: &str = "tokenizer.ggml.eot_token_id";
pub const EOM_ID: &str = "tokenizer.ggml.eom_token_id";
pub const UNK_ID: &str = "tokenizer.ggml.unknown_token_id";
pub const PAD_ID: &str = "tokenizer.ggml.padding_token_id";
pub const FIM_PAD_ID: &str = "tokenizer.ggml.fim_pad_token_id";
pub const FIM_REP_ID: &str = "tokenizer.ggml.fim_rep_token_id";
pub const FIM_SEP_ID: &str = "tokenizer.ggml.fim_sep_token_id";
pub const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
pub const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
pub const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
pub const HUGGING_FACE: &str = "tokenizer.huggingface.json";
pub const CHAT_TEMPLATE: &str = "tokenizer.chat_template";
/// Names of the chat templates beside the default one.
pub const CHAT_TEMPLATES: &str = "tokenizer.chat_templates";
/// What stands before the name of a chat template.
pub const NAMED_TEMPLATE: &str = "tokenizer.chat_template.";
/// Key of this crate with all tokens that end a text, of which the format names three.
pub const OWN_ENDS: &str = "bitnet_burn.eos_token_ids";

/// Value of [`PRE`] that llama.cpp takes for a tokenizer of bytes without the key.
pub const DEFAULT_PRE: &str = "default";

/// Value of [`MODEL`] for byte-pair encodings of bytes.
pub const BYTES: &str = "gpt2";
/// Value of [`MODEL`] for byte-pair encodings of characters.
pub const CHARACTERS: &str = "llama";

/// What stands for a space in tokens of characters.
pub const SPACE: &str = "\u{2581}";

/// Checks that a list has an element for each token.
pub fn check_length(
    key: &'static str,
    expected: usize,
    found: usize,
) -> Result<(), TokenizerError> {
    match expected == found {
        true => Ok(()),
        false => Err(TokenizerError::Length {
            key,
            expected,
            found,
        }),
    }
}

/// Token of an id that the tokenizer does not have, as llama.cpp's converter calls it.
pub fn padding(id: usize) -> String {
    format!("[PAD{id}]")
}
