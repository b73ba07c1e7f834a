use std::path::Path;

use serde_json::Value;

use super::{PeftFileError, fields::Fields, lora};
use crate::{base::key_table::UnknownKey, peft::PeftConfig};

/// Reads the configuration of an adapter. Keys that are absent have peft's defaults.
///
/// # Errors
///
/// If it is no configuration of a supported method, or has a key that changes the result and is not supported.
pub(super) fn read(
    path: &Path,
    text: &[u8],
) -> Result<(PeftConfig, Vec<UnknownKey>), PeftFileError> {
    let fields = Fields::read(path, text)?;
    let method: String = fields.required("peft_type")?;
    let (config, unknown): (PeftConfig, _) = match method.as_str() {
        "LORA" => into(lora::read(&fields)?),
        _ => return Err(fields.unsupported("peft_type", method, "LORA")),
    };
    config.validate().map_err(|source| fields.invalid(source))?;
    Ok((config, unknown))
}

fn into<T: Into<PeftConfig>>(
    (config, unknown): (T, Vec<UnknownKey>),
) -> (PeftConfig, Vec<UnknownKey>) {
    (config.into(), unknown)
}

/// Returns the configuration as peft reads it: few keys, as all others have defaults.
pub(super) fn write(config: &PeftConfig) -> Value {
    match config {
        PeftConfig::Lora(config) => lora::write(config),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::peft::{LoraConfig, TargetModules};

    fn of(json: Value) -> Result<PeftConfig, String> {
        let read = read(Path::new("a"), json.to_string().as_bytes());
        read.map(|(config, _)| config).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut config = LoraConfig::new(4)
            .with_alpha(2.0)
            .with_rslora()
            .with_dropout(0.25);
        config.targets.target_modules = TargetModules::names(["q_proj", "down_proj"]);
        config.targets.layers_to_transform = Some(vec![0, 3]);
        config.rank_pattern.insert("down_proj".to_string(), 2);
        let config = config.into();
        assert_eq!(of(write(&config)).unwrap(), config);
    }

    #[test]
    fn keys_that_change_the_result_are_refused_by_name() {
        let with = |key: &str, value: Value| {
            let mut json = json!({"peft_type": "LORA", "target_modules": ["q_proj"]});
            json[key] = value;
            of(json)
        };
        assert!(with("lora_bias", json!(false)).is_ok());
        assert_eq!(
            with("lora_bias", json!(true)).unwrap_err(),
            "a: lora_bias is true, supported is null or empty or false"
        );
        assert_eq!(
            with("peft_type", json!("ADALORA")).unwrap_err(),
            "a: peft_type is ADALORA, supported is LORA"
        );
        let error = with("init_lora_weights", json!("pissa")).unwrap_err();
        assert!(
            error.starts_with("a: init_lora_weights is \"pissa\""),
            "{error}"
        );
        let error = with("r", json!("four")).unwrap_err();
        assert!(error.starts_with("a: r: invalid type"), "{error}");
        assert_eq!(
            with("target_modules", Value::Null).unwrap_err(),
            "a: target_modules is missing"
        );
        assert_eq!(
            with("layers_to_transform", json!(1))
                .unwrap()
                .targets()
                .layers_to_transform,
            Some(vec![1])
        );
    }
}
