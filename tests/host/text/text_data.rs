//! Files of a training: their kinds, the split for validation, and what does not fit.

use std::{fs, path::PathBuf, sync::Arc};

use bitnet_burn::text::{
    Tokenizer,
    dataset::{RecordKind, TextData, TextDataConfig, TextDataError, TokenStore, read_tokens},
};
use tempfile::TempDir;

fn config(folder: &TempDir, name: &str, content: &str) -> TextDataConfig {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    TextDataConfig {
        text: vec![path],
        context: 4,
        batch: 2,
        ..Default::default()
    }
}

fn tokenizer() -> Arc<Tokenizer> {
    let printable: String = (' '..='~').chain(['\n']).collect();
    Arc::new(Tokenizer::characters(&printable).unwrap())
}

fn load(config: &TextDataConfig) -> Result<TextData, TextDataError> {
    config.load(&tokenizer(), None, 6, 3, 0)
}

#[test]
fn the_last_tenth_of_a_text_is_for_validation() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder, "a.txt", &"abcdefghi\n".repeat(10));
    // The characters of the text, and the end of text.
    assert_eq!(config.tokenizer().unwrap().vocab_size(), 11);
    let data = load(&config).unwrap();
    assert_eq!((data.train_tokens, data.valid_tokens), (90, 10));
    assert_eq!(data.train.iter().count(), 3);
    assert_eq!(
        data.valid.iter().next().unwrap().unwrap().inputs.dims(),
        [2, 4]
    );
    config.validation = config.text.clone();
    let data = load(&config).unwrap();
    assert_eq!((data.train_tokens, data.valid_tokens), (100, 100));
}

#[test]
fn the_last_tenth_of_records_is_for_validation() {
    let folder = tempfile::tempdir().unwrap();
    let pair = "{\"prompt\": \"q\", \"completion\": \"aa\"}\n";
    let mut config = config(&folder, "a.jsonl", &pair.repeat(20));
    config.records = RecordKind::PromptCompletion;
    let data = load(&config).unwrap();
    assert_eq!((data.train_tokens, data.valid_tokens), (54, 6));
    let batch = data.train.iter().next().unwrap().unwrap();
    assert_eq!(batch.inputs.dims(), [2, 4]);
    // Of four targets, a prompt does not count.
    assert!(batch.tokens < 8, "{}", batch.tokens);
}

#[test]
fn texts_of_several_files_are_apart_by_an_end_of_text() {
    let folder = tempfile::tempdir().unwrap();
    let mut files: Vec<PathBuf> = Vec::new();
    files.extend(config(&folder, "a.txt", "ab").text);
    files.extend(config(&folder, "b.jsonl", "{\"text\": \"c\"}\n{\"text\": \"d\"}").text);
    let (tokenizer, mut read) = (tokenizer(), Vec::new());
    let tokens = read_tokens(&files, &tokenizer).unwrap();
    tokens.read(0..tokens.len(), &mut read).unwrap();
    let end = tokenizer.eos().unwrap();
    let letter = |text| tokenizer.encode(text).unwrap()[0];
    assert_eq!(
        read,
        [letter("a"), letter("b"), end, letter("c"), end, letter("d")]
    );
}

#[test]
fn files_that_do_not_fit_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let short = config(&folder, "a.txt", "short");
    let message = load(&short).err().unwrap().to_string();
    assert!(
        message.contains("at least 50 tokens for windows of 4"),
        "{message}"
    );
    for (name, records, part) in [
        (
            "a.txt",
            RecordKind::PromptCompletion,
            "TextDataConfig::text",
        ),
        ("a.txt", RecordKind::Messages, "expected a chat template"),
    ] {
        let config = TextDataConfig {
            records,
            ..config(&folder, name, "text")
        };
        let message = load(&config).err().unwrap().to_string();
        assert!(message.contains(part), "{message}");
    }
    let mut mixed = config(&folder, "b.bin", "0123");
    mixed.text.extend(short.text);
    assert!(matches!(load(&mixed), Err(TextDataError::Settings(_))));
    assert!(matches!(mixed.tokenizer(), Err(TextDataError::Settings(_))));
}
