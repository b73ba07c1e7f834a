//! Tokenizers in GGUF's metadata: everything llama.cpp needs is written, and unsupported features are errors.

use bitnet_burn::interop::gguf::{
    GgufMetadata,
    tokenizer::{SpecialIds, TokenizerError, TokenizerOptions, from_metadata, to_metadata},
};
use proptest::prelude::*;
use serde_json::{Value, json};

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Tokens of a byte-level tokenizer: 0 to 4 in the vocabulary, 6 and 7 added, none with id 5.
fn bytes() -> Value {
    json!({
        "added_tokens": [
            {"id": 6, "content": "<|end|>", "special": true},
            {"id": 7, "content": "<tool>", "special": false},
        ],
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
        ]},
        "post_processor": {"type": "Sequence", "processors": [
            {"type": "ByteLevel"},
            {"type": "TemplateProcessing", "single": [
                {"SpecialToken": {"id": "<|end|>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ]},
        ]},
        "model": {
            "type": "BPE", "ignore_merges": true,
            "vocab": {"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4},
            "merges": [["a", "b"], "Ġ ab"],
        },
    })
}

/// A character tokenizer, as transformers converts it from a sentencepiece model.
fn characters() -> Value {
    let mut vocab = json!({"<unk>": 0, "<s>": 1, "</s>": 2});
    for byte in 0..256 {
        vocab[format!("<0x{byte:02X}>")] = (3 + byte).into();
    }
    for (i, token) in ["ab", "▁ab", "▁a", "▁", "a", "b"].into_iter().enumerate() {
        vocab[token] = (259 + i).into();
    }
    let added = |id: u32, content: &str, special: bool| json!({"id": id, "content": content, "special": special});
    json!({
        "added_tokens": [
            added(0, "<unk>", true), added(1, "<s>", true), added(2, "</s>", true),
            added(265, "▁▁", false),
        ],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "</s>", "type_id": 0}},
        ]},
        "model": {
            "type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "fuse_unk": true,
            "vocab": vocab,
            "merges": ["a b", "▁a b", "▁ ab", "▁ a"],
        },
    })
}

fn options(vocab_size: usize) -> TokenizerOptions {
    TokenizerOptions::new(vocab_size)
}

/// Returns the value of a key as a type.
macro_rules! get {
    ($type:ty, $metadata:expr, $key:expr) => {
        $metadata
            .required::<$type>(&format!("tokenizer.ggml.{}", $key))
            .unwrap()
    };
}

fn error(json: &Value, vocab_size: usize) -> String {
    to_metadata(json, None, &options(vocab_size))
        .unwrap_err()
        .to_string()
}

#[test]
fn tokens_of_bytes() {
    let metadata = to_metadata(&bytes(), None, &options(9)).unwrap();
    assert_eq!(get!(&str, metadata, "model"), "gpt2");
    assert_eq!(get!(&str, metadata, "pre"), "llama-bpe");
    assert_eq!(
        get!(&[String], metadata, "tokens"),
        [
            "a", "b", "Ġ", "ab", "Ġab", "[PAD5]", "<|end|>", "<tool>", "[PAD8]"
        ]
    );
    assert_eq!(
        get!(&[i32], metadata, "token_type"),
        [1, 1, 1, 1, 1, 5, 3, 4, 5]
    );
    assert_eq!(get!(&[String], metadata, "merges"), ["a b", "Ġ ab"]);
    assert_eq!(get!(u32, metadata, "bos_token_id"), 6);
    assert!(get!(bool, metadata, "add_bos_token"));
    // Given explicitly, as llama.cpp would decide by the name of the pre-tokenizer.
    assert!(!get!(bool, metadata, "add_eos_token"));
    assert!(metadata.get("tokenizer.ggml.scores").is_none());
}

#[test]
fn tokens_of_characters() {
    let metadata = to_metadata(&characters(), None, &options(267)).unwrap();
    assert_eq!(get!(&str, metadata, "model"), "llama");
    assert_eq!(get!(&str, metadata, "pre"), "default");
    let tokens = get!(&[String], metadata, "tokens");
    // llama.cpp matches it before spaces are replaced.
    assert_eq!(tokens[265..], ["  ", "[PAD266]"]);
    let types = get!(&[i32], metadata, "token_type");
    assert_eq!(types[..4], [2, 3, 3, 6]);
    assert_eq!(types[258..], [6, 1, 1, 1, 1, 1, 1, 4, 5]);
    // Ranks: ab 0, ▁ab 1 and 2, ▁a 3; others below.
    let scores = get!(&[f32], metadata, "scores");
    assert_eq!(scores[258..265], [-4.0, 0.0, -1.0, -3.0, -4.0, -4.0, -4.0]);
    let ids = SpecialIds::from_metadata(&metadata).unwrap();
    let expected = SpecialIds {
        bos: Some(1),
        eos: Some(2),
        unk: Some(0),
        ..Default::default()
    };
    assert_eq!(ids, expected);
    for key in ["add_bos_token", "add_eos_token", "add_space_prefix"] {
        assert!(get!(bool, metadata, key), "{key}");
    }
}

#[test]
fn special_tokens_of_the_configuration() {
    let config = json!({
        "bos_token": "<|end|>", "eos_token": {"content": "<|end|>"}, "pad_token": null,
        "add_bos_token": false, "chat_template": "{{ messages }}",
    });
    let special_ids = SpecialIds {
        pad: Some(5),
        ..SpecialIds::default()
    };
    let options = options(9).with_special_ids(special_ids).with_pre("falcon3");
    let metadata = to_metadata(&bytes(), Some(&config), &options).unwrap();
    assert_eq!(get!(&str, metadata, "pre"), "falcon3");
    let ids = SpecialIds::from_metadata(&metadata).unwrap();
    assert_eq!(
        (ids.bos, ids.eos, ids.unk, ids.pad),
        (Some(6), Some(6), None, Some(5))
    );
    assert!(!get!(bool, metadata, "add_bos_token"));
    let template: &str = metadata.required("tokenizer.chat_template").unwrap();
    assert_eq!(template, "{{ messages }}");

    let config = json!({"bos_token": "<s>"});
    let error = to_metadata(&bytes(), Some(&config), &options).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the first token \"<s>\" is not in the vocabulary"
    );
    // The template adds another token than the first one of the configuration.
    let config = json!({"bos_token": "a"});
    let error = to_metadata(&bytes(), Some(&config), &options).unwrap_err();
    assert!(matches!(
        error,
        TokenizerError::Unsupported {
            part: "add_bos_token",
            ..
        }
    ));
}

#[test]
fn a_tokenizer_of_bytes_comes_back() {
    let metadata = to_metadata(&bytes(), None, &options(9)).unwrap();
    let json = from_metadata(&metadata).unwrap().tokenizer;
    // Added tokens are in the vocabulary, too; padding tokens are not.
    let vocab = json!({
        "a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4, "<|end|>": 6, "<tool>": 7,
    });
    assert_eq!(json["model"]["vocab"], vocab);
    assert_eq!(json["model"]["merges"], json!([["a", "b"], ["Ġ", "ab"]]));
    assert_eq!(json["model"]["ignore_merges"], true);
    assert_eq!(json["added_tokens"][0]["content"], "<|end|>");
    assert_eq!(json["added_tokens"][1]["special"], false);
    assert_eq!(
        json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"],
        LLAMA3
    );
    assert_eq!(to_metadata(&json, None, &options(9)).unwrap(), metadata);
}

#[test]
fn a_tokenizer_of_characters_comes_back() {
    let metadata = to_metadata(&characters(), None, &options(268)).unwrap();
    let json = from_metadata(&metadata).unwrap().tokenizer;
    assert_eq!(
        json["model"]["merges"],
        json!([["a", "b"], ["▁a", "b"], ["▁", "ab"], ["▁", "a"]])
    );
    assert_eq!(to_metadata(&json, None, &options(268)).unwrap(), metadata);

    // Files of llama.cpp's converter have no merges; these follow from the scores.
    let mut without = GgufMetadata::new();
    for (key, value) in metadata.iter() {
        if key != "tokenizer.ggml.merges" {
            without.insert(key, value.clone()).unwrap();
        }
    }
    assert_eq!(from_metadata(&without).unwrap().tokenizer, json);
}

#[test]
fn special_tokens_and_the_template_come_back() {
    let config = json!({"eos_token": "<|end|>", "chat_template": "{{ messages }}"});
    let metadata = to_metadata(&bytes(), Some(&config), &options(8)).unwrap();
    assert_eq!(
        from_metadata(&metadata).unwrap().config,
        json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|end|>", "eos_token": "<|end|>", "chat_template": "{{ messages }}",
        })
    );
    let mut metadata = to_metadata(&bytes(), None, &options(8)).unwrap();
    metadata
        .replace("tokenizer.ggml.eos_token_id", 99u32)
        .unwrap();
    let error = from_metadata(&metadata).unwrap_err().to_string();
    assert!(error.contains("99"), "{error}");
}

#[test]
fn chat_templates_come_back_with_their_names() {
    let written = |template: Value| {
        let config = json!({"chat_template": template});
        to_metadata(&bytes(), Some(&config), &options(8))
    };
    let again = |template: Value| {
        let mut config = from_metadata(&written(template).unwrap()).unwrap().config;
        config["chat_template"].take()
    };
    let one = json!("one {{ bos_token }}");
    assert_eq!(again(one.clone()), one);
    let named = json!([
        {"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"},
    ]);
    assert_eq!(again(named.clone()), named);
    let alone = json!([{"name": "rag-1", "template": "c"}]);
    assert_eq!(again(alone), json!([{"name": "rag_1", "template": "c"}]));
    assert_eq!(again(Value::Null), Value::Null);
    assert!(written(json!(3)).is_err());
}

#[test]
fn an_embedded_tokenizer_comes_back_whole() {
    let options = options(9).with_embedded_json(true);
    let metadata = to_metadata(&bytes(), None, &options).unwrap();
    assert_eq!(from_metadata(&metadata).unwrap().tokenizer, bytes());
}

#[test]
fn inconsistent_vocabularies_are_refused() {
    let text = "the token \"<tool>\" has the id 7, the model has 7 tokens";
    assert_eq!(error(&bytes(), 7), text);
    assert!(error(&bytes(), usize::MAX).contains("2^24"));
    let mut json = bytes();
    json["model"]["vocab"]["c"] = 3.into();
    assert!(error(&json, 9).contains("conflicts with"));
    let mut json = bytes();
    json["added_tokens"][0]["content"] = "a".into();
    assert!(error(&json, 9).contains("conflicts with its id 0"));
    json["added_tokens"][0]["content"] = "[PAD8]".into();
    json["post_processor"] = Value::Null;
    assert!(error(&json, 9).contains("[PAD8]"));
    json["added_tokens"][0]["id"] = u64::MAX.into();
    assert!(error(&json, 9).contains("18446744073709551615"));
    json["added_tokens"][0]["id"] = (-1).into();
    assert_eq!(
        error(&json, 9),
        "`added_tokens.id`: expected an id, found -1"
    );
}

#[test]
fn tokenizers_that_llama_cpp_does_not_support_are_refused() {
    let bytes_with = |path: &str, value: Value| {
        let mut json = bytes();
        *json.pointer_mut(path).unwrap() = value;
        error(&json, 9)
    };
    assert!(bytes_with("/model/type", "Unigram".into()).contains("byte-pair"));
    assert!(bytes_with("/normalizer", json!({"type": "Lowercase"})).contains("normalizer"));
    assert!(bytes_with("/pre_tokenizer", json!({"type": "Whitespace"})).contains("ByteLevel"));
    assert!(bytes_with("/post_processor", json!({"type": "BertProcessing"})).contains("template"));
    let split = "/pre_tokenizer/pretokenizers/0/pattern/Regex";
    assert!(bytes_with(split, r"\p{N}".into()).contains("with_pre"));
    assert!(bytes_with("/model/merges/0", json!(["a", " "])).contains("spaces"));
    assert!(bytes_with("/model/merges/0", json!(["a", "c"])).contains("no tokens"));
    assert!(bytes_with("/model/merges/0", json!(["a"])).contains("two parts"));
    assert!(bytes_with("/model/merges/0", "a b c".into()).contains("two parts"));
    assert!(bytes_with("/model/merges", Value::Null).contains("an array"));
    // Composition is accepted, and so is an empty list of merges.
    let mut json = bytes();
    json["normalizer"] = json!({"type": "NFC"});
    json["model"]["merges"] = json!([]);
    let metadata = to_metadata(&json, None, &options(9)).unwrap();
    assert!(get!(&[String], metadata, "merges").is_empty());

    let characters_with = |path: &str, value: Value| {
        let mut json = characters();
        *json.pointer_mut(path).unwrap() = value;
        error(&json, 267)
    };
    assert!(characters_with("/normalizer", Value::Null).contains("U+2581"));
    assert!(characters_with("/pre_tokenizer", json!({"type": "Digits"})).contains("Metaspace"));
    let mut json = characters();
    json["model"]["vocab"]
        .as_object_mut()
        .unwrap()
        .remove("<0x7F>");
    assert!(error(&json, 267).contains("the byte token \"<0x7F>\""));
}

#[test]
fn merges_that_scores_cannot_express_are_refused() {
    let mut json = characters();
    // llama.cpp would merge ▁ and ab into ▁ab.
    json["model"]["merges"] = json!(["a b", "▁a b", "▁ a"]);
    assert!(error(&json, 267).contains("with_inexact_merges"));
    let inexact = options(267).with_inexact_merges(true);
    let metadata = to_metadata(&json, None, &inexact).unwrap();
    assert_eq!(
        get!(&[f32], metadata, "scores")[259..262],
        [0.0, -1.0, -2.0]
    );
    // One token has two ranks, and another one is between.
    json["model"]["merges"] = json!(["a b", "▁a b", "▁ a", "▁ ab"]);
    assert!(error(&json, 267).contains("with_inexact_merges"));
}

#[test]
fn spaces_of_the_pre_tokenizer() {
    let mut json = characters();
    json["normalizer"] = Value::Null;
    for (scheme, prefix) in [("always", true), ("first", true), ("never", false)] {
        json["pre_tokenizer"] =
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme});
        let metadata = to_metadata(&json, None, &options(267)).unwrap();
        assert_eq!(get!(bool, metadata, "add_space_prefix"), prefix);
    }
}

#[test]
fn contradictory_metadata_are_refused() {
    let error = |key: &str, value: bitnet_burn::interop::gguf::GgufValue| {
        let mut metadata = to_metadata(&bytes(), None, &options(9)).unwrap();
        metadata
            .replace(format!("tokenizer.ggml.{key}"), value)
            .unwrap();
        from_metadata(&metadata).unwrap_err().to_string()
    };
    assert!(error("model", "bert".into()).contains("byte-pair"));
    assert!(error("pre", "viking".into()).contains("viking"));
    assert!(error("token_type", vec![1i32].into()).contains("expected 9 elements, found 1"));
    assert!(error("token_type", vec![7i32; 9].into()).contains("types from 1 to 6"));
    assert!(error("tokens", vec!["a".to_string(); 9].into()).contains("conflicts with"));
    assert!(error("merges", vec!["a".to_string()].into()).contains("two parts"));
    assert!(error("merges", vec!["a c".to_string()].into()).contains("no tokens"));
    assert!(error("bos_token_id", 9u32.into()).contains("bos_token_id is 9"));
    assert!(from_metadata(&GgufMetadata::new()).is_err());
}

/// Returns all paths in a value.
fn pointers(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_string());
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let key = key.replace('~', "~0").replace('/', "~1");
                pointers(value, &format!("{path}/{key}"), found);
            }
        }
        Value::Array(elements) => {
            for (i, value) in elements.iter().enumerate() {
                pointers(value, &format!("{path}/{i}"), found);
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn damaged_tokenizers_are_errors_or_come_back(
        of_bytes in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0usize..9), 1..4),
        vocab_size in 0usize..300,
    ) {
        let mut json = if of_bytes { bytes() } else { characters() };
        for (place, value) in changes {
            let mut places = Vec::new();
            pointers(&json, "", &mut places);
            let values = [
                Value::Null, true.into(), (-1).into(), 5.into(), u64::MAX.into(), "".into(),
                "a".into(), json!([]), json!({"type": "Sequence"}),
            ];
            *json.pointer_mut(&places[place.index(places.len())]).unwrap() = values[value].clone();
        }
        if let Ok(metadata) = to_metadata(&json, Some(&json), &options(vocab_size)) {
            prop_assert_eq!(get!(&[String], metadata, "tokens").len(), vocab_size);
            let _ = from_metadata(&metadata);
        }
    }
}
