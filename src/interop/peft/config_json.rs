use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{PeftFileError, keys::KEYS};
use crate::{
    base::key_table::UnknownKey,
    peft::{LoraConfig, LoraInit},
};

/// Reads the configuration of a LoRA adapter. Keys that are absent have peft's defaults.
///
/// # Errors
///
/// If it is no configuration of LoRA, or has a key that changes the result and is not supported.
pub(super) fn read(
    path: &Path,
    text: &[u8],
) -> Result<(LoraConfig, Vec<UnknownKey>), PeftFileError> {
    let fields: Map<String, Value> =
        serde_json::from_slice(text).map_err(|error| PeftFileError::file(path, error))?;
    let fields = Fields { path, fields };
    let keys = fields
        .fields
        .iter()
        .map(|(key, value)| (key.as_str(), value));
    let unknown = KEYS
        .check(super::CONFIG_FILE, keys)
        .map_err(|refused| fields.unsupported(&refused.key, refused.found, refused.supported))?;
    let method: String = fields.required("peft_type")?;
    if method != "LORA" {
        return Err(fields.unsupported("peft_type", method, "LORA"));
    }
    let mut config = LoraConfig::new(fields.or("r", 8)?);
    config.alpha = fields.or("lora_alpha", 8.0)?;
    config.dropout = fields.or("lora_dropout", 0.0)?;
    config.use_rslora = fields.or("use_rslora", false)?;
    config.use_dora = fields.or("use_dora", false)?;
    config.bias = fields.or("bias", config.bias)?;
    config.init = fields.init()?;
    config.rank_pattern = fields.or("rank_pattern", Default::default())?;
    config.alpha_pattern = fields.or("alpha_pattern", Default::default())?;
    config.modules_to_save = fields.or("modules_to_save", Vec::new())?;
    config.targets.target_modules = fields.required("target_modules")?;
    config.targets.exclude_modules = fields.or("exclude_modules", None)?;
    config.targets.layers_to_transform = fields.list("layers_to_transform")?;
    config.targets.layers_pattern = fields.list("layers_pattern")?.unwrap_or_default();
    config.validate().map_err(|source| PeftFileError::Config {
        path: path.to_path_buf(),
        source,
    })?;
    Ok((config, unknown))
}

/// Fields of a configuration.
struct Fields<'a> {
    path: &'a Path,
    fields: Map<String, Value>,
}

impl Fields<'_> {
    fn unsupported(
        &self,
        field: &str,
        found: impl ToString,
        supported: impl ToString,
    ) -> PeftFileError {
        PeftFileError::Unsupported {
            path: self.path.to_path_buf(),
            field: field.to_string(),
            found: found.to_string(),
            supported: supported.to_string(),
        }
    }

    /// Returns a value, or `default` where it is absent or null.
    fn or<T: DeserializeOwned>(&self, key: &str, default: T) -> Result<T, PeftFileError> {
        match self.fields.get(key).filter(|value| !value.is_null()) {
            None => Ok(default),
            Some(value) => T::deserialize(value)
                .map_err(|error| PeftFileError::file(self.path, format!("{key}: {error}"))),
        }
    }

    fn required<T: DeserializeOwned>(&self, key: &str) -> Result<T, PeftFileError> {
        let value = self.or(key, None)?;
        value.ok_or_else(|| PeftFileError::file(self.path, format!("{key} is missing")))
    }

    /// Returns a list, which may also be its only value.
    fn list<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Vec<T>>, PeftFileError> {
        match self.fields.get(key) {
            Some(Value::Array(_)) | None => self.or(key, None),
            Some(_) => Ok(self.or::<Option<T>>(key, None)?.map(|value| vec![value])),
        }
    }

    /// Returns the initialization, which says whether the base weight is that of the file of the model.
    fn init(&self) -> Result<LoraInit, PeftFileError> {
        match self.fields.get("init_lora_weights") {
            None | Some(Value::Null | Value::Bool(_)) => Ok(LoraInit::Kaiming),
            Some(Value::String(name)) if name == "gaussian" => Ok(LoraInit::Gaussian),
            Some(Value::String(name)) if name == "orthogonal" => Ok(LoraInit::Orthogonal),
            Some(other) => Err(self.unsupported(
                "init_lora_weights",
                other.to_string(),
                "true, false, gaussian and orthogonal, which keep the base weight (others: save with \
                 path_initial_model_for_weight_conversion)",
            )),
        }
    }
}

/// Returns the configuration as peft reads it: few keys, as all others have defaults.
pub(super) fn write(config: &LoraConfig) -> Value {
    let targets = &config.targets;
    let mut fields = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "inference_mode": true,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "use_rslora": config.use_rslora,
        "use_dora": config.use_dora,
        "bias": config.bias,
        "target_modules": targets.target_modules,
    });
    let all = fields.as_object_mut().expect("an object");
    if let Some(excluded) = &targets.exclude_modules {
        all.insert("exclude_modules".to_string(), json!(excluded));
    }
    if let Some(layers) = &targets.layers_to_transform {
        all.insert("layers_to_transform".to_string(), json!(layers));
    }
    if !targets.layers_pattern.is_empty() {
        all.insert("layers_pattern".to_string(), json!(targets.layers_pattern));
    }
    for (key, pattern) in [
        ("rank_pattern", json!(config.rank_pattern)),
        ("alpha_pattern", json!(config.alpha_pattern)),
    ] {
        if pattern
            .as_object()
            .is_some_and(|pattern| !pattern.is_empty())
        {
            all.insert(key.to_string(), pattern);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peft::TargetModules;

    fn of(json: Value) -> Result<LoraConfig, String> {
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
                .targets
                .layers_to_transform,
            Some(vec![1])
        );
    }
}
