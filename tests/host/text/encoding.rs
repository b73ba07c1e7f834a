//! Texts as tokens, and tokens as texts.

use std::fs;

use bitnet_burn::text::{TextStream, Tokenizer};
use serde_json::json;

#[test]
fn ascii_characters_are_numbered_in_their_order() {
    let tokenizer = Tokenizer::characters("bad cab\n").unwrap();
    // '\n', ' ', 'a', 'b', 'c', 'd' and the end.
    assert_eq!(tokenizer.vocab_size(), 7);
    assert_eq!(tokenizer.encode("cab \nd").unwrap(), [4, 2, 3, 1, 0, 5]);
    assert_eq!(tokenizer.eos(), Some(6));
    assert_eq!(tokenizer.bos(), None);
    assert_eq!(tokenizer.token_id("<|endoftext|>"), Some(6));
    assert_eq!(tokenizer.encode("a<|endoftext|>").unwrap(), [2, 6]);
}

#[test]
fn every_character_is_one_token() {
    let text = "naïve €5 — 你好, 😀🦀 ї\r\n\t\"quoted\"";
    let tokenizer = Tokenizer::characters(text).unwrap();
    let tokens = tokenizer.encode(text).unwrap();
    assert_eq!(tokens.len(), text.chars().count());
    assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
}

#[test]
fn an_empty_text_has_no_tokenizer() {
    let error = Tokenizer::characters("").unwrap_err();
    assert!(error.to_string().contains("found none"), "{error}");
}

#[test]
fn characters_without_tokens_are_listed() {
    let tokenizer = Tokenizer::characters("abc").unwrap();
    let error = tokenizer.encode("axb€x").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the tokenizer has no tokens for ['x', '€']"
    );
    // The characters of a special token need no tokens.
    assert_eq!(tokenizer.encode("a<|endoftext|>b").unwrap(), [0, 3, 1]);
}

#[test]
fn tokens_outside_the_vocabulary_are_refused() {
    let tokenizer = Tokenizer::characters("abc").unwrap();
    let error = tokenizer.decode(&[0, 9]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no token 9 in a vocabulary of 4"
    );
}

#[test]
fn batches_are_their_texts() {
    let tokenizer = Tokenizer::characters("abc é").unwrap();
    let tokens = tokenizer.encode_batch(&["ab", "é c"]).unwrap();
    let tokens: [Vec<u32>; 2] = tokens.try_into().unwrap();
    assert_eq!(tokens[1], tokenizer.encode("é c").unwrap());
    let texts = tokens.map(|tokens| tokenizer.decode(&tokens).unwrap());
    assert_eq!(texts, ["ab", "é c"]);
}

#[test]
fn offsets_are_the_bytes_of_tokens() {
    let tokenizer = Tokenizer::characters("a é").unwrap();
    let tokens = tokenizer.encode_with_offsets("é a").unwrap();
    let bytes: Vec<_> = tokens.into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(bytes, [0..2, 2..3, 3..4]);
}

/// A tokenizer whose multi-byte characters are one token per byte.
fn bytes() -> Tokenizer {
    let whole = Tokenizer::characters("é€a�").unwrap();
    let mut json = whole.json().unwrap();
    json["model"]["merges"] = json!([]);
    let folder = tempfile::tempdir().unwrap();
    whole.save(&folder).unwrap();
    fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    Tokenizer::from_file(&folder).unwrap()
}

#[test]
fn only_whole_characters_come_out() {
    let tokenizer = bytes();
    let tokens = tokenizer.encode("aé€").unwrap();
    assert_eq!(tokens.len(), 6);
    let mut stream = TextStream::new(&tokenizer);
    let pieces: Vec<String> = (tokens.iter())
        .map(|&token| stream.push(token).unwrap())
        .collect();
    assert_eq!(pieces, ["a", "", "é", "", "", "€"]);
    assert_eq!(stream.finish().unwrap(), "");
}

#[test]
fn half_a_character_comes_at_the_end() {
    let tokenizer = bytes();
    let tokens = tokenizer.encode("€").unwrap();
    let mut stream = TextStream::new(&tokenizer);
    assert_eq!(stream.push(tokens[0]).unwrap(), "");
    assert_eq!(stream.finish().unwrap(), "�");
}

#[test]
fn what_never_gets_whole_does_not_wait_forever() {
    let tokenizer = bytes();
    let half = tokenizer.encode("€").unwrap()[0];
    let mut stream = TextStream::new(&tokenizer);
    // A character has at most 4 bytes.
    let pieces: Vec<String> = (0..8).map(|_| stream.push(half).unwrap()).collect();
    assert!(!pieces[7].is_empty(), "{pieces:?}");
}

#[test]
fn special_tokens_are_left_out() {
    let tokenizer = Tokenizer::characters("ab").unwrap();
    let mut stream = TextStream::new(&tokenizer);
    assert_eq!(stream.push(0).unwrap(), "a");
    assert_eq!(stream.push(tokenizer.eos().unwrap()).unwrap(), "");
    assert_eq!(stream.push(1).unwrap(), "b");
}
