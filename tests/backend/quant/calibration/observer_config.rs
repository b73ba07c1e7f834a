use bitnet_burn::quant::calibration::{ObserverConfig, ObserverGranularity};

#[test]
fn json_says_each_choice_by_name_and_missing_fields_are_the_defaults() {
    for (config, json) in [
        (
            ObserverConfig::min_max(),
            serde_json::json!({"min_max": {"granularity": "per_tensor"}}),
        ),
        (
            ObserverConfig::ema_min_max(),
            serde_json::json!({"ema_min_max": {"momentum": 0.99, "granularity": "per_tensor"}}),
        ),
        (
            ObserverConfig::percentile(),
            serde_json::json!({"percentile": {"percentile": 99.99, "bins": 4096}}),
        ),
        (
            ObserverConfig::histogram(),
            serde_json::json!({"histogram": {"bins": 4096}}),
        ),
        (
            ObserverConfig::mse(),
            serde_json::json!({"mse": {
                "bits": 8, "mapping": "symmetric", "candidates": 100, "bins": 4096,
            }}),
        ),
    ] {
        assert_eq!(serde_json::to_value(&config).unwrap(), json);
        let name = json.as_object().unwrap().keys().next().unwrap().clone();
        let read: ObserverConfig = serde_json::from_value(json).unwrap();
        assert_eq!(read, config);
        let empty = serde_json::json!({name: {}});
        assert_eq!(
            serde_json::from_value::<ObserverConfig>(empty).unwrap(),
            config
        );
    }
}

#[test]
fn a_field_out_of_its_range_is_refused_when_read() {
    for (json, message) in [
        (
            r#"{"ema_min_max": {"momentum": 1.0}}"#,
            "momentum must be in [0, 1), got 1",
        ),
        (
            r#"{"histogram": {"bins": 24}}"#,
            "a power of two from 16 to 65536, got 24",
        ),
        (
            r#"{"min_max": {"momentum": 0.5}}"#,
            "unknown field `momentum`",
        ),
        (r#"{"entropy": {}}"#, "unknown variant `entropy`"),
    ] {
        let error = serde_json::from_str::<ObserverConfig>(json).unwrap_err();
        assert!(error.to_string().contains(message), "{json}: {error}");
    }
}

#[test]
#[should_panic(expected = "momentum must be in [0, 1), got 1.5")]
fn a_field_out_of_its_range_panics_at_init() {
    let granularity = ObserverGranularity::PerTensor;
    let momentum = 1.5;
    ObserverConfig::EmaMinMax {
        momentum,
        granularity,
    }
    .init();
}
