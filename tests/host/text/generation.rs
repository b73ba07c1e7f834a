//! Generated texts: with a cache equal to the full forward pass, in a batch equal to single prompts.

use bitnet_burn::{
    nn::{BitNetLm, BitNetLmConfig, KvCacheDType, Projection, Prompt, TrainableProjection},
    text::{FinishReason, GeneratedText, GenerationConfig, Generator, TextError, Tokenizer},
};
use burn::{
    module::Module,
    nn::Linear,
    tensor::{DType, Device, Int, Tensor},
};

use crate::support::values::*;

/// Number of positions of the model.
const CONTEXT: usize = 24;

fn tokenizer() -> Tokenizer {
    let letters: String = ('a'..='z').chain([' ', 'é']).collect();
    Tokenizer::characters(&letters).unwrap()
}

fn lm<P: TrainableProjection>(vocab_size: usize) -> BitNetLm<P> {
    let config = BitNetLmConfig::new(vocab_size, 32, 2, 4, 48)
        .with_n_kv_heads(Some(2))
        .with_max_positions(CONTEXT);
    // Untied, so that the likeliest token is not the last one again.
    let config = config.with_tied_embeddings(false);
    config.init(&Device::default()).map(&mut Drawn::new(3, 0.3))
}

/// Settings that end at the length only: no token ends the text.
fn greedy() -> GenerationConfig {
    GenerationConfig::new()
        .with_max_new_tokens(10)
        .with_temperature(0.0)
        .with_eos(vec![u32::MAX])
}

fn generate<P: Projection>(
    lm: &BitNetLm<P>,
    config: &GenerationConfig,
    prompts: &[&str],
) -> Vec<GeneratedText> {
    let tokenizer = tokenizer();
    let generator = Generator::new(lm, &tokenizer, config.clone()).unwrap();
    generator.generate(prompts).unwrap()
}

fn assert_greedy(lm: &BitNetLm<Linear>) {
    let tokenizer = tokenizer();
    let vocab_size = tokenizer.vocab_size();
    let mut tokens = tokenizer.encode("some words").unwrap();
    let prompt = tokens.len();
    for _ in 0..10 {
        let row: Vec<i32> = tokens.iter().map(|&token| token as i32).collect();
        let input = Tensor::<1, Int>::from_ints(row.as_slice(), &Device::default());
        let logits = floats(lm.forward(input.unsqueeze()));
        let last = &logits[logits.len() - vocab_size..];
        let likelier = |a: &usize, b: &usize| last[*a].total_cmp(&last[*b]);
        tokens.push((0..vocab_size).max_by(likelier).unwrap() as u32);
    }
    let generated = generate(lm, &greedy(), &["some words"]).remove(0);
    assert_eq!(generated.tokens, tokens[prompt..]);
    assert_eq!(generated.finish, FinishReason::Length);
}

#[test]
fn greedy_tokens_are_the_likeliest_of_the_forward_pass() {
    assert_greedy(&lm(tokenizer().vocab_size()));
}

#[test]
fn texts_stand_behind_the_trained_prompt_of_the_model() {
    let device = Device::default();
    let values = |d: usize| tensor(&normal(4 * d, 6), [4, d], DType::F32, &device) * 10.0;
    for prompt in [
        Prompt::prefix("prefix", values(2 * 2 * 16)),
        Prompt::input("input", values(32)),
    ] {
        let mut lm: BitNetLm<Linear> = lm(tokenizer().vocab_size());
        lm.model.prompt = Some(prompt);
        assert_greedy(&lm);
        let long = greedy().with_max_new_tokens(1000);
        let text = generate(&lm, &long, &["some words"]).remove(0);
        assert_eq!(text.finish, FinishReason::Context);
        assert_eq!(text.tokens.len(), CONTEXT - 4 - 10 + 1);
        let (tokenizer, too_long) = (tokenizer(), "x".repeat(CONTEXT - 4 + 1));
        let generator = Generator::new(&lm, &tokenizer, greedy()).unwrap();
        let error = generator.generate(&[&too_long]).unwrap_err().to_string();
        assert!(
            error.ends_with("has 21 tokens, expected 1 to 20"),
            "{error}"
        );
    }
}

#[test]
fn prompts_side_by_side_are_prompts_alone() {
    let lm: BitNetLm<Linear> = lm(tokenizer().vocab_size());
    let prompts = ["one", "two", "longer", "six", "a"];
    let together = generate(&lm, &greedy(), &prompts);
    let in_twos = generate(&lm, &greedy().with_batch_size(2), &prompts);
    assert_eq!(together, in_twos);
    for (prompt, together) in prompts.iter().zip(together) {
        assert_eq!(generate(&lm, &greedy(), &[prompt]), [together], "{prompt}");
    }
}

#[test]
fn the_packed_model_generates_with_every_cache() {
    let tokenizer = tokenizer();
    let lm = lm::<bitnet_burn::nn::BitLinear>(tokenizer.vocab_size()).pack();
    for dtype in [KvCacheDType::F32, KvCacheDType::Int8] {
        let config = greedy().with_cache_dtype(dtype);
        let generated = generate(&lm, &config, &["one", "two"]);
        assert!(generated.iter().all(|text| text.tokens.len() == 10));
    }
}

#[test]
fn the_same_seed_gives_the_same_texts() {
    let lm: BitNetLm<Linear> = lm(tokenizer().vocab_size());
    let config = greedy()
        .with_temperature(1.5)
        .with_top_k(Some(20))
        .with_top_p(0.95);
    let prompts = ["one", "one", "three"];
    let texts = generate(&lm, &config, &prompts);
    assert_eq!(generate(&lm, &config, &prompts), texts);
    assert_ne!(texts[0], texts[1]);
    assert_ne!(generate(&lm, &config.with_seed(9), &prompts), texts);
}

#[test]
fn pieces_make_up_the_text() {
    let tokenizer = tokenizer();
    let lm: BitNetLm<Linear> = lm(tokenizer.vocab_size());
    let config = greedy().with_temperature(2.0);
    let generator = Generator::new(&lm, &tokenizer, config).unwrap();
    let mut tokens = vec![Vec::new(); 3];
    let mut text = vec![String::new(); 3];
    let prompts = ["one", "two", "three"];
    let generated = generator.stream(&prompts, &mut |piece| {
        tokens[piece.prompt].extend(piece.token);
        text[piece.prompt] += piece.text;
    });
    for (i, generated) in generated.unwrap().into_iter().enumerate() {
        assert_eq!(generated.tokens, tokens[i]);
        assert_eq!(generated.text, text[i]);
        let with_special = tokenizer.decode(&generated.tokens).unwrap();
        assert_eq!(with_special.replace("<|endoftext|>", ""), generated.text);
    }
}

/// Returns the tokenizer with a special token, which is not part of a text.
fn with_special(token: u32) -> (Tokenizer, String) {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = tokenizer();
    tokenizer.save(&folder).unwrap();
    let content = tokenizer.token(token).unwrap();
    let mut json = tokenizer.json().unwrap();
    json["added_tokens"]
        .as_array_mut()
        .unwrap()
        .push(serde_json::json!({
            "id": token, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        }));
    std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    (Tokenizer::from_file(&folder).unwrap(), content)
}

#[test]
fn a_special_token_is_a_stop_sequence_and_may_be_part_of_one() {
    let lm: BitNetLm<Linear> = lm(tokenizer().vocab_size());
    let whole = generate(&lm, &greedy(), &["some words"]).remove(0);
    let at = 4;
    let (tokenizer, special) = with_special(whole.tokens[at]);
    let first = whole
        .tokens
        .iter()
        .position(|token| *token == whole.tokens[at])
        .unwrap();
    let generate = |stop: &str| {
        let config = greedy().with_stop(vec![stop.to_string()]);
        let generator = Generator::new(&lm, &tokenizer, config).unwrap();
        generator.generate(&["some words"]).unwrap().remove(0)
    };
    let stopped = generate(&special);
    assert_eq!(stopped.finish, FinishReason::Stop);
    assert_eq!(stopped.tokens, whole.tokens[..=first]);
    assert_eq!(
        stopped.text,
        tokenizer.decode_text(&whole.tokens[..first]).unwrap()
    );
    // Without a stop sequence, it is omitted and nothing ends.
    let all = generate("#");
    assert_eq!(all.finish, FinishReason::Length);
    assert_eq!(all.text, tokenizer.decode_text(&whole.tokens).unwrap());
    assert!(!all.text.contains(&special));
}

#[test]
fn a_stop_sequence_ends_the_text_before_it() {
    let lm: BitNetLm<Linear> = lm(tokenizer().vocab_size());
    let config = greedy().with_temperature(3.0);
    let whole = generate(&lm, &config, &["some words"]).remove(0);
    let characters: Vec<char> = whole.text.chars().collect();
    // Over two tokens; its first occurrence may be earlier.
    let stop: String = characters[4..6].iter().collect();
    let end = whole.text.find(&stop).unwrap();
    let config = config.with_stop(vec!["#".to_string(), stop]);
    let stopped = generate(&lm, &config, &["some words", "some wordy"]).remove(0);
    assert_eq!(stopped.finish, FinishReason::Stop);
    assert_eq!(stopped.text, whole.text[..end]);
    assert!(whole.tokens.starts_with(&stopped.tokens));
}

#[test]
fn an_end_token_ends_the_text_and_is_not_in_it() {
    let lm: BitNetLm<Linear> = lm(tokenizer().vocab_size());
    let whole = generate(&lm, &greedy(), &["some words"]).remove(0);
    let eos = whole.tokens[5];
    let first = whole.tokens.iter().position(|&token| token == eos).unwrap();
    let ended = generate(&lm, &greedy().with_eos(vec![eos]), &["some words"]).remove(0);
    assert_eq!(ended.finish, FinishReason::Eos);
    assert_eq!(ended.tokens, whole.tokens[..first]);
}

#[test]
fn a_text_ends_with_the_positions_of_the_model() {
    let lm: BitNetLm<Linear> = lm(tokenizer().vocab_size());
    let config = greedy().with_max_new_tokens(1000);
    let prompt = "x".repeat(CONTEXT);
    let texts = generate(&lm, &config, &["some words", &prompt]);
    assert!(
        texts
            .iter()
            .all(|text| text.finish == FinishReason::Context)
    );
    // The last token is not read.
    assert_eq!(texts[0].tokens.len(), CONTEXT - 10 + 1);
    assert_eq!(texts[1].tokens.len(), 1);

    let none = generate(&lm, &greedy().with_max_new_tokens(0), &["a"]).remove(0);
    assert_eq!((none.tokens.len(), none.finish), (0, FinishReason::Length));
}

#[test]
fn prompts_that_do_not_fit_are_refused() {
    let tokenizer = tokenizer();
    let lm: BitNetLm<Linear> = lm(tokenizer.vocab_size());
    let generator = Generator::new(&lm, &tokenizer, greedy()).unwrap();
    let long = "x".repeat(CONTEXT + 1);
    for prompt in ["", &long] {
        let error = generator.generate(&["fits", prompt]).unwrap_err();
        let expected = format!("prompt 1 has {} tokens, expected 1 to 24", prompt.len());
        assert_eq!(error.to_string(), expected);
    }
    let error = generator
        .stream_tokens(&[vec![5000]], &mut |_| {})
        .unwrap_err();
    assert!(
        matches!(error, TextError::UnknownToken { token: 5000, .. }),
        "{error}"
    );
}
