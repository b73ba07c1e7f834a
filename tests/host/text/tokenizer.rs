//! Tokenizers: round trip of texts, and loading of the files of a model.

use std::fs;

use bitnet_burn::text::{TextError, TextStream, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};

const END_OF_TEXT: &str = "<|endoftext|>";
const TEXT: &str = "How much wood would a woodchuck chuck?\n\n  naïve — 你好 😀🦀\t'tis \"it\"";

#[test]
fn a_saved_tokenizer_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = Tokenizer::characters(TEXT)
        .unwrap()
        .with_model_max_length(64);
    tokenizer.save(&folder).unwrap();
    let of_folder = Tokenizer::from_file(&folder).unwrap();
    let of_file = Tokenizer::from_file(folder.path().join("tokenizer.json")).unwrap();
    for read in [of_folder, of_file] {
        assert_eq!(read.vocab_size(), tokenizer.vocab_size());
        assert_eq!(read.eos(), tokenizer.token_id(END_OF_TEXT));
        assert_eq!(read.encode(TEXT).unwrap(), tokenizer.encode(TEXT).unwrap());
        assert_eq!(read.config()["model_max_length"], 64);
        assert_eq!(read.json().unwrap(), tokenizer.json().unwrap());
    }
}

#[test]
fn special_tokens_come_from_all_files_of_a_model() {
    let folder = tempfile::tempdir().unwrap();
    Tokenizer::characters("abc").unwrap().save(&folder).unwrap();
    let write =
        |file, value: Value| fs::write(folder.path().join(file), value.to_string()).unwrap();
    write(
        "tokenizer_config.json",
        json!({"eos_token": {"content": END_OF_TEXT}, "bos_token": "a"}),
    );
    write("generation_config.json", json!({"eos_token_id": [1, 3]}));
    write("config.json", json!({"eos_token_id": 2, "bos_token_id": 1}));
    let tokenizer = Tokenizer::from_file(&folder).unwrap();
    assert_eq!(tokenizer.eos_tokens(), [3, 1, 2]);
    assert_eq!(tokenizer.bos(), Some(0));

    write("config.json", json!({"eos_token_id": "two"}));
    let error = Tokenizer::from_file(&folder).unwrap_err().to_string();
    assert!(
        error.contains("config.json, `eos_token_id`: expected"),
        "{error}"
    );
    write("config.json", json!({"eos_token_id": 70}));
    let error = Tokenizer::from_file(&folder).unwrap_err();
    assert!(
        matches!(error, TextError::UnknownToken { token: 70, .. }),
        "{error}"
    );
    write("tokenizer_config.json", json!({"eos_token": "</s>"}));
    let error = Tokenizer::from_file(&folder).unwrap_err().to_string();
    assert!(
        error.contains("expected a token of the vocabulary, found \"</s>\""),
        "{error}"
    );
}

#[test]
fn tokens_around_a_text_are_added_when_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut json = Tokenizer::characters("abc").unwrap().json().unwrap();
    json["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": END_OF_TEXT, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {END_OF_TEXT: {"id": END_OF_TEXT, "ids": [3], "tokens": [END_OF_TEXT]}},
    });
    // Truncation and padding are up to the data set.
    json["truncation"] = json!({
        "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0,
    });
    fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    let tokenizer = Tokenizer::from_file(&folder).unwrap();
    assert_eq!(tokenizer.encode("abc").unwrap(), [0, 1, 2]);
    assert_eq!(
        tokenizer.encode_with_special_tokens("abc").unwrap(),
        [3, 0, 1, 2]
    );
}

/// Creates a folder with a tokenizer of the characters `abc` and a post-processor.
fn folder_with(post_processor: Value, config: Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    Tokenizer::characters("abc").unwrap().save(&folder).unwrap();
    let path = folder.path().join("tokenizer.json");
    let mut json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    json["post_processor"] = post_processor;
    fs::write(&path, json.to_string()).unwrap();
    let path = folder.path().join("tokenizer_config.json");
    fs::write(&path, config.to_string()).unwrap();
    folder
}

#[test]
fn tokens_around_a_text_are_those_of_the_post_processor() {
    let template = |single: Value| {
        json!({"type": "Sequence", "processors": [
            {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
            {"type": "TemplateProcessing", "single": single, "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
             "special_tokens": {"a": {"id": "a", "ids": [0], "tokens": ["a"]}}}]})
    };
    let token = json!({"SpecialToken": {"id": "a", "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let around = |post_processor, config| {
        let tokenizer = Tokenizer::from_file(folder_with(post_processor, config)).unwrap();
        let around = [tokenizer.prefix_tokens(), tokenizer.suffix_tokens()];
        assert_eq!(
            tokenizer.encode_with_special_tokens("b").unwrap(),
            [around[0], &[1], around[1]].concat()
        );
        around.map(<[u32]>::to_vec)
    };
    let named = json!({"bos_token": "a", "eos_token": END_OF_TEXT});
    // A name alone adds no token, and neither does the configuration beside tokenizer.json.
    assert_eq!(around(Value::Null, named.clone()), [[0; 0], [0; 0]]);
    let asked = json!({"bos_token": "a", "add_bos_token": true});
    assert_eq!(around(Value::Null, asked), [[0; 0], [0; 0]]);
    assert_eq!(
        around(template(json!([token, text])), named.clone()),
        [vec![0], vec![]]
    );
    assert_eq!(
        around(template(json!([text, token])), json!({})),
        [vec![], vec![0]]
    );
    assert_eq!(
        around(template(json!([token, token, text, token])), json!({})),
        [vec![0, 0], vec![0]]
    );
    let wrong = json!({"SpecialToken": {"id": "x", "type_id": 0}});
    let error = Tokenizer::from_file(folder_with(template(json!([wrong, text])), json!({})));
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("the post-processor has nothing for")
    );
    let error = Tokenizer::from_file(folder_with(template(json!([token])), json!({})));
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("keeps a text once, found one that has it 0 times")
    );
}

#[test]
fn merges_and_templates_without_their_tokens_are_refused() {
    let folder = folder_with(Value::Null, json!({}));
    let path = folder.path().join("tokenizer.json");
    let whole: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let read = |change: &dyn Fn(&mut Value)| {
        let mut json = whole.clone();
        change(&mut json);
        fs::write(&path, json.to_string()).unwrap();
        Tokenizer::from_file(&folder)
    };
    let merged = |merges: Value| {
        read(&|json| {
            json["model"]["vocab"]["ab"] = json!(4);
            json["model"]["merges"] = merges.clone();
        })
    };
    assert_eq!(merged(json!(["a b"])).unwrap().encode("ab").unwrap(), [4]);
    assert_eq!(
        merged(json!([["a", "b"]])).unwrap().encode("ab").unwrap(),
        [4]
    );
    let error = merged(json!([["b", "a"]])).unwrap_err().to_string();
    assert!(error.contains("makes no token"), "{error}");

    // The library recognizes a template by its fields, regardless of its type.
    let token =
        json!({"single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}], "special_tokens": {}});
    let second = json!({"single": [{"Sequence": {"id": "B", "type_id": 0}}], "special_tokens": {}});
    for template in [token, second] {
        let error = read(&|json| json["post_processor"] = template.clone());
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("the post-processor has nothing for"),
            "{error}"
        );
    }
}

#[test]
fn keys_of_the_configuration_are_honored_known_or_listed() {
    let read = |config| Tokenizer::from_file(folder_with(Value::Null, config));
    let known = json!({"tokenizer_class": "LlamaTokenizerFast", "legacy": false, "add_prefix_space": true,
        "clean_up_tokenization_spaces": true, "image_token": "<image>", "model_max_length": 1e30,
        "added_tokens_decoder": {"3": {"content": END_OF_TEXT, "special": true}}});
    assert!(read(known).unwrap().unknown_keys().is_empty());
    let unknown = read(json!({"byte_falback": true})).unwrap();
    assert_eq!(
        unknown.unknown_keys()[0].to_string(),
        "tokenizer_config.json: byte_falback = true"
    );
    let refused = |config, part: &str| {
        let error = read(config).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(
        json!({"fix_mistral_regex": true}),
        "`fix_mistral_regex`: expected",
    );
    refused(
        json!({"extra_special_tokens": ["<x>"]}),
        "`extra_special_tokens`: expected tokens that",
    );
    refused(
        json!({"tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": true}),
        "`add_prefix_space`: expected false, as in tokenizer.json, found true",
    );
    refused(json!({"pad_token": 3}), "`pad_token`: expected a token");
    let text = format!("a{END_OF_TEXT}");
    assert_eq!(read(json!({})).unwrap().encode(&text).unwrap(), [0, 3]);
    // As text it has characters without tokens.
    let split = read(json!({"split_special_tokens": true})).unwrap();
    assert!(split.encode(&text).is_err());
}

#[test]
fn named_tokens_of_old_folders_are_read() {
    let folder = folder_with(Value::Null, json!({"unk_token": "b"}));
    let map = json!({"bos_token": {"content": "a"}, "unk_token": "c", "other": 1}).to_string();
    fs::write(folder.path().join("special_tokens_map.json"), map).unwrap();
    let tokenizer = Tokenizer::from_file(&folder).unwrap();
    let named: Vec<_> = tokenizer.special_tokens().collect();
    assert_eq!(named, [("bos_token", "a"), ("unk_token", "c")]);
    assert_eq!(tokenizer.bos(), Some(0));
}

#[test]
fn files_that_are_no_tokenizer_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Tokenizer::from_file(&folder).unwrap_err();
    assert!(matches!(error, TextError::Io { .. }), "{error}");
    for text in [
        "",
        "{",
        "[]",
        "{\"model\": 1}",
        "{\"model\": {\"type\": \"BPE\"}}",
    ] {
        fs::write(folder.path().join("tokenizer.json"), text).unwrap();
        let error = Tokenizer::from_file(&folder).unwrap_err().to_string();
        assert!(
            error.contains("tokenizer.json is no tokenizer: "),
            "{text}: {error}"
        );
    }
}

/// Returns the leaf values of a JSON value.
fn leaves(value: &mut Value) -> Vec<&mut Value> {
    let is_leaf = match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => true,
    };
    if is_leaf {
        return vec![value];
    }
    match value {
        Value::Array(list) => list.iter_mut().flat_map(leaves).collect(),
        Value::Object(map) => map.values_mut().flat_map(leaves).collect(),
        _ => Vec::new(),
    }
}

fn other_value() -> impl Strategy<Value = Value> {
    let values = [
        json!(null),
        json!(-1),
        json!(0),
        json!(1e300),
        json!(4294967295u32),
        json!(""),
        json!("ab"),
        json!("é"),
        json!([]),
        json!({}),
        json!(true),
        json!("ByteLevel"),
        json!("WordPiece"),
    ];
    prop::sample::select(values.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn texts_come_back(text in any::<String>(), of in "[a-cé€]{1,8}") {
        if !text.is_empty() {
            let tokenizer = Tokenizer::characters(&text).unwrap();
            let tokens = tokenizer.encode(&text).unwrap();
            prop_assert_eq!(tokens.len(), text.chars().count());
            prop_assert_eq!(tokenizer.decode(&tokens).unwrap(), text.clone());
            let mut stream = TextStream::new(&tokenizer);
            let mut streamed = String::new();
            for token in tokens {
                streamed += &stream.push(token).unwrap();
            }
            streamed += &stream.finish().unwrap();
            prop_assert_eq!(streamed, text.clone());
        }
        // Complete, or rejected: nothing is dropped.
        let other = Tokenizer::characters(&of).unwrap();
        match other.encode(&text) {
            Ok(tokens) => prop_assert_eq!(other.decode(&tokens).unwrap(), text),
            Err(error) => {
                let unknown = matches!(error, TextError::UnknownCharacters { .. });
                prop_assert!(unknown, "{}", error);
            }
        }
    }

    #[test]
    fn changed_tokenizers_are_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), other_value()), 1..4),
    ) {
        let mut json = Tokenizer::characters("abé").unwrap().json().unwrap();
        for (place, value) in changes {
            let mut leaves = leaves(&mut json);
            let place = place.index(leaves.len());
            *leaves[place] = value;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
        if let Ok(tokenizer) = Tokenizer::from_file(&folder) {
            if let Ok(tokens) = tokenizer.encode("ab é<|endoftext|>") {
                let _ = tokenizer.decode(&tokens);
            }
            let _ = tokenizer.decode(&[0, 1, 2, 3, 4]);
        }
    }
}
