use serde_json::{Value, json};

use super::{PeftFileError, fields::Fields};
use crate::peft::{TargetModules, Targets};

/// Keys of the choice of modules.
pub(super) const KEYS: &[&str] = &[
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
];

/// Reads the choice of modules; `default` are the target modules of a configuration that names none.
pub(super) fn read(
    fields: &Fields<'_>,
    default: Option<TargetModules>,
) -> Result<Targets, PeftFileError> {
    let target_modules = match default {
        Some(default) => fields.or("target_modules", default)?,
        None => fields.required("target_modules")?,
    };
    Ok(Targets {
        target_modules,
        exclude_modules: fields.or("exclude_modules", None)?,
        layers_to_transform: fields.list("layers_to_transform")?,
        layers_pattern: fields.list("layers_pattern")?.unwrap_or_default(),
    })
}

/// Adds the choice of modules to a configuration.
pub(super) fn write(targets: &Targets, fields: &mut Value) {
    fields["target_modules"] = json!(targets.target_modules);
    if let Some(excluded) = &targets.exclude_modules {
        fields["exclude_modules"] = json!(excluded);
    }
    if let Some(layers) = &targets.layers_to_transform {
        fields["layers_to_transform"] = json!(layers);
    }
    if !targets.layers_pattern.is_empty() {
        fields["layers_pattern"] = json!(targets.layers_pattern);
    }
}
