use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Tokenizer, byte_symbols::byte_symbols};
use crate::text::TextError;

/// End-of-text token of the character tokenizer.
const END_OF_TEXT: &str = "<|endoftext|>";

impl Tokenizer {
    /// Creates a tokenizer with a token for each character of a text, and `<|endoftext|>`.
    ///
    /// It is a byte-level BPE in the format of GPT-2, which every program that reads such tokenizers can
    /// load. The ids are those of the sorted bytes, then of the characters of several bytes with their
    /// prefixes, and last the end of text. A text of ASCII characters has one token per character, in their
    /// order.
    ///
    /// # Errors
    ///
    /// If the text is empty.
    pub fn characters(text: &str) -> Result<Self, TextError> {
        if text.is_empty() {
            return Err(TextError::Tokenizer {
                path: None,
                reason: "expected a text to take characters from, found none".to_string(),
            });
        }
        let mut config = Map::new();
        for (name, value) in [
            ("tokenizer_class", json!("PreTrainedTokenizerFast")),
            ("eos_token", json!(END_OF_TEXT)),
            ("clean_up_tokenization_spaces", json!(false)),
        ] {
            config.insert(name.to_string(), value);
        }
        Self::from_json(&tokenizer_json(text), config, None)
    }
}

/// Builds the `tokenizer.json` for the characters of a text.
fn tokenizer_json(text: &str) -> Value {
    let (tokens, merges) = tokens_and_merges(text);
    let end = tokens.len();
    let numbered = tokens.into_iter().chain([END_OF_TEXT.to_string()]);
    let vocab: Map<String, Value> = (numbered.zip(0u32..))
        .map(|(token, number)| (token, number.into()))
        .collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true,
    });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [{
            "id": end, "content": END_OF_TEXT, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        }],
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocab, "merges": merges,
        },
    })
}

/// Returns tokens in the order of their ids, and the merges that build characters from bytes: the first
/// two, these with the third, these with the fourth.
///
/// A merge begins with the first byte of a character, which occurs at no other position of one, so merges
/// do not conflict.
fn tokens_and_merges(text: &str) -> (Vec<String>, Vec<[String; 2]>) {
    let symbols = byte_symbols();
    let written = |bytes: &[u8]| -> String {
        let symbol = |&byte: &u8| symbols[usize::from(byte)];
        bytes.iter().map(symbol).collect()
    };
    let bytes: BTreeSet<u8> = text.bytes().collect();
    let mut beginnings = BTreeSet::new();
    for character in text.chars().filter(|c| !c.is_ascii()) {
        let mut buffer = [0; 4];
        let bytes = character.encode_utf8(&mut buffer).as_bytes();
        beginnings.extend((2..=bytes.len()).map(|len| bytes[..len].to_vec()));
    }
    // Short ones first: a merge uses the results of earlier ones.
    let mut beginnings = Vec::from_iter(beginnings);
    beginnings.sort_by_key(Vec::len);
    let merges = beginnings.iter().map(|bytes| {
        let (last, before) = bytes.split_last().expect("two bytes at least");
        [written(before), written(&[*last])]
    });
    let merges = merges.collect();
    let singles = bytes.iter().map(|&byte| written(&[byte]));
    let tokens = singles.chain(beginnings.iter().map(|bytes| written(bytes)));
    (tokens.collect(), merges)
}
