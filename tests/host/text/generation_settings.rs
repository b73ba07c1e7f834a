//! Settings of generated texts: those of the caller, and those in a model's folder.

use std::fs;

use bitnet_burn::{
    nn::{BitNetLm, BitNetLmConfig},
    text::{GenerationConfig, Generator, Tokenizer, check_generation_settings},
};
use burn::tensor::Device;

#[test]
fn values_that_make_no_sense_are_refused() {
    let tokenizer = Tokenizer::characters("a").unwrap();
    let lm: BitNetLm = BitNetLmConfig::new(2, 32, 1, 2, 64).init(&Device::default());
    let checked = |config| Generator::new(&lm, &tokenizer, config).map(drop);
    let config = GenerationConfig::new;
    checked(config()).unwrap();
    let wrong = [
        config().with_temperature(-1.0),
        config().with_temperature(f32::NAN),
        config().with_top_k(Some(0)),
        config().with_top_p(1.5),
        config().with_min_p(-0.1),
        config().with_repetition_penalty(0.0),
        config().with_stop(vec![String::new()]),
        config().with_batch_size(0),
    ];
    for config in wrong {
        assert!(checked(config.clone()).is_err(), "{config}");
    }
    let error = checked(config().with_top_p(1.5)).unwrap_err();
    assert_eq!(error.to_string(), "top_p must be in [0, 1], got 1.5");
}

#[test]
fn settings_that_change_the_text_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(check_generation_settings(&folder).unwrap().is_empty());
    let check = |json: &str| {
        fs::write(folder.path().join("generation_config.json"), json).unwrap();
        check_generation_settings(&folder)
    };
    let known =
        r#"{"eos_token_id": [2, 3], "temperature": 0.6, "num_beams": 1, "suppress_tokens": null}"#;
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
