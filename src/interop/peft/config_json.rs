use std::path::Path;

use serde_json::{Value, json};

use super::{PeftFileError, ada_lora, fields::Fields, ia3, lora, prompts};
use crate::{base::key_table::UnknownKey, peft::PeftConfig};

/// Methods that are read and written.
const SUPPORTED: &str = "LORA, ADALORA, IA3, PREFIX_TUNING, P_TUNING, PROMPT_TUNING";

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
        "ADALORA" => into(ada_lora::read(&fields)?),
        "IA3" => into(ia3::read(&fields)?),
        "PREFIX_TUNING" => into(prompts::read_prefix(&fields)?),
        "P_TUNING" => into(prompts::read_p_tuning(&fields)?),
        "PROMPT_TUNING" => into(prompts::read_prompt_tuning(&fields)?),
        _ => return Err(fields.unsupported("peft_type", method, SUPPORTED)),
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
///
/// # Errors
///
/// If peft has no such method, or the method has no such setting there.
pub(super) fn write(path: &Path, config: &PeftConfig) -> Result<Value, PeftFileError> {
    let mut fields = match config {
        PeftConfig::Lora(config) => lora::write(config),
        PeftConfig::AdaLora(config) => ada_lora::write(config),
        PeftConfig::Ia3(config) => ia3::write(path, config)?,
        PeftConfig::PrefixTuning(config) => prompts::write_prefix(config),
        PeftConfig::PTuning(config) => prompts::write_p_tuning(config),
        PeftConfig::PromptTuning(config) => prompts::write_prompt_tuning(config),
        PeftConfig::BitFit(_) => {
            return Err(PeftFileError::NotInPeft {
                path: path.to_path_buf(),
                method: "BitFit",
                instead: "save a record of the trained parameters, or merge the adapter and save the model, with \
                          the biases in its configuration",
            });
        }
    };
    if !config.modules_to_save().is_empty() {
        fields["modules_to_save"] = json!(config.modules_to_save());
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peft::{
        AdaLoraConfig, BitFitConfig, Ia3Config, LoraConfig, PTuningConfig, PrefixTuningConfig,
        PromptTuningConfig, TargetModules,
    };

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
        let written = write(Path::new("a"), &config).unwrap();
        assert_eq!(of(written).unwrap(), config);
    }

    #[test]
    fn modules_that_are_saved_as_a_whole_are_read_back_for_each_method() {
        let saved = || vec!["lm_head".to_string()];
        let mut ada_lora = AdaLoraConfig::new(9);
        ada_lora.modules_to_save = saved();
        let mut lora = LoraConfig::new(2);
        lora.modules_to_save = saved();
        let ia3 = Ia3Config {
            modules_to_save: saved(),
            ..Default::default()
        };
        let mut prefix = PrefixTuningConfig::new(2);
        prefix.modules_to_save = saved();
        let mut p_tuning = PTuningConfig::new(2);
        p_tuning.modules_to_save = saved();
        let mut prompt = PromptTuningConfig::new(2);
        prompt.modules_to_save = saved();
        let configs: [PeftConfig; 6] = [
            ada_lora.into(),
            lora.into(),
            ia3.into(),
            prefix.into(),
            p_tuning.into(),
            prompt.into(),
        ];
        for config in configs {
            let written = write(Path::new("a"), &config).unwrap();
            assert_eq!(of(written).unwrap(), config);
        }
    }

    #[test]
    fn ia3_is_read_back_and_what_peft_does_not_have_is_refused() {
        let mut config = Ia3Config::new(
            TargetModules::Pattern(".*_proj".to_string()),
            TargetModules::Pattern(".*mlp.*".to_string()),
        );
        config.init_ia3_weights = false;
        config.targets.exclude_modules = Some(TargetModules::names(["up_proj"]));
        let written = write(Path::new("a"), &config.clone().into()).unwrap();
        assert_eq!(of(written.clone()).unwrap(), config.clone().into());

        let with = |key: &str, value: Value| {
            let mut json = written.clone();
            json[key] = value;
            of(json).unwrap_err()
        };
        for (key, value, expected) in [
            (
                "fan_in_fan_out",
                json!(true),
                "a: fan_in_fan_out is true, supported is null or empty or false",
            ),
            (
                "layers_to_transform",
                json!([1]),
                "a: layers_to_transform is [1], supported is null or empty",
            ),
            (
                "feedforward_modules",
                Value::Null,
                "a: feedforward_modules is missing",
            ),
            (
                "target_modules",
                Value::Null,
                "a: target_modules is missing",
            ),
            (
                "init_ia3_weights",
                json!("ones"),
                "a: init_ia3_weights: invalid type",
            ),
        ] {
            let error = with(key, value);
            assert!(error.starts_with(expected), "{error}");
        }
        config.targets = TargetModules::names(["k_proj"]).into();
        config.targets.layers_to_transform = Some(vec![1]);
        let error = write(Path::new("a"), &config.into()).unwrap_err();
        assert!(
            error.to_string().contains("no layers_to_transform"),
            "{error}"
        );
    }

    #[test]
    fn bitfit_is_not_in_peft() {
        let error = write(Path::new("a"), &BitFitConfig::default().into()).unwrap_err();
        assert!(matches!(error, PeftFileError::NotInPeft { .. }));
        let text = error.to_string();
        assert!(
            text.starts_with("a: peft has no BitFit: save a record"),
            "{text}"
        );
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
            with("peft_type", json!("VERA")).unwrap_err(),
            "a: peft_type is VERA, supported is LORA, ADALORA, IA3, PREFIX_TUNING, P_TUNING, PROMPT_TUNING"
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
                .unwrap()
                .layers_to_transform,
            Some(vec![1])
        );
    }
}
