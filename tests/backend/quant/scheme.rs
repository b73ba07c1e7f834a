//! Schemes and their parts as text.

use bitnet_burn::quant::{BitWidth, HadamardConfig, NoiseConfig, QatScheme, Ste, WeightQuantizer};

#[test]
fn json_says_each_choice_by_name() {
    let json = serde_json::to_value(QatScheme::b1_58()).unwrap();
    let expected = serde_json::json!({
        "weight": {"ternary": {"granularity": "per_tensor"}},
        "activation": {"absmax": {"bits": 8, "granularity": "per_token"}},
        "ste": "identity",
    });
    assert_eq!(json, expected);
}

#[test]
fn display_names_the_quantizers() {
    let scheme = QatScheme::b1_58();
    let text = "ternary absmean per tensor, int8 absmax per token";
    assert_eq!(scheme.to_string(), text);
    let rotated = scheme.with_rotation(Some(HadamardConfig::new(64)));
    assert_eq!(
        rotated.to_string(),
        format!("{text}, Hadamard blocks of 64")
    );
    let scheme = QatScheme::weight_only().with_weight(WeightQuantizer::symmetric(4));
    assert_eq!(
        scheme.to_string(),
        "symmetric 4 bits per channel, float activations"
    );
}

#[test]
fn missing_fields_are_those_of_b1_58_and_unknown_ones_an_error() {
    let scheme: QatScheme = serde_json::from_str(r#"{"activation": null}"#).unwrap();
    assert_eq!(scheme, QatScheme::b1_58().with_activation(None));
    let error = serde_json::from_str::<QatScheme>(r#"{"weights": 1}"#).unwrap_err();
    assert!(error.to_string().contains("unknown field `weights`"));
}

#[test]
fn activations_in_float_have_a_word_that_every_format_has() {
    let scheme = QatScheme::b1_58().with_activation(None);
    let json = serde_json::to_value(&scheme).unwrap();
    assert_eq!(json["activation"], "none");
    assert_eq!(serde_json::from_value::<QatScheme>(json).unwrap(), scheme);
    let error = serde_json::from_str::<QatScheme>(r#"{"activation": "non"}"#).unwrap_err();
    assert!(
        error.to_string().contains("expected a value or \"none\""),
        "{error}"
    );
}

#[test]
fn a_bit_width_outside_the_range_is_refused_when_read() {
    let json = r#"{"activation": {"absmax": {"bits": 9, "granularity": "per_token"}}}"#;
    let error = serde_json::from_str::<QatScheme>(json).unwrap_err();
    assert!(
        error.to_string().contains("bits must be 2 to 8, got 9"),
        "{error}"
    );
}

#[test]
fn widths_serialize_by_name_and_others_are_refused() {
    assert_eq!(
        serde_json::to_string(&BitWidth::Bits(4)).unwrap(),
        r#"{"bits":4}"#
    );
    assert_eq!(
        serde_json::from_str::<BitWidth>(r#""ternary""#).unwrap(),
        BitWidth::Ternary
    );
    let error = serde_json::from_str::<BitWidth>(r#"{"bits":9}"#).unwrap_err();
    assert!(
        error.to_string().contains("bits must be 2 to 8, got 9"),
        "{error}"
    );
}

#[test]
fn shares_outside_their_range_are_refused_when_read() {
    for (json, message) in [
        (
            r#"{"uniform":{"factor":-1.0}}"#,
            "factor must be zero or above and finite, got -1",
        ),
        (
            r#"{"quant":{"fraction":1.5}}"#,
            "fraction must be in [0, 1], got 1.5",
        ),
    ] {
        let error = serde_json::from_str::<NoiseConfig>(json)
            .unwrap_err()
            .to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_block_that_is_no_power_of_two_is_refused_when_read() {
    let error = serde_json::from_str::<HadamardConfig>(r#"{"block": 12}"#).unwrap_err();
    assert!(
        error.to_string().contains("power of two, got 12"),
        "{error}"
    );
}

#[test]
fn estimators_serialize_by_name_and_refuse_what_is_not_positive() {
    for (ste, json) in [
        (Ste::Identity, r#""identity""#),
        (Ste::clipped(1.5), r#"{"clipped":{"bound":1.5}}"#),
        (Ste::tanh(0.25), r#"{"tanh":{"temperature":0.25}}"#),
        (Ste::sigmoid(0.25), r#"{"sigmoid":{"temperature":0.25}}"#),
    ] {
        assert_eq!(serde_json::to_string(&ste).unwrap(), json);
        assert_eq!(serde_json::from_str::<Ste>(json).unwrap(), ste);
    }
    for json in [
        r#"{"clipped":{"bound":0.0}}"#,
        r#"{"tanh":{"temperature":-1.0}}"#,
    ] {
        let error = serde_json::from_str::<Ste>(json).unwrap_err().to_string();
        assert!(error.contains("must be positive and finite"), "{error}");
    }
}

#[test]
#[should_panic(expected = "temperature must be positive and finite, got 0")]
fn a_temperature_of_zero_is_refused() {
    Ste::sigmoid(0.0);
}
