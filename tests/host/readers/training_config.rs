use bitnet_burn::train::config::TrainingConfig;

/// Reads a training configuration, as TOML and as JSON. An accepted one must survive a round trip.
pub fn training_config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for config in [
        TrainingConfig::from_toml(text),
        TrainingConfig::from_json(text),
    ] {
        let Ok(config) = config else { continue };
        let of_json = TrainingConfig::from_json(&config.to_json()).expect("what was written");
        assert_eq!(of_json.to_json(), config.to_json());
        let of_toml = TrainingConfig::from_toml(&config.to_toml()).expect("what was written");
        assert_eq!(of_toml.to_toml(), config.to_toml());
    }
}
