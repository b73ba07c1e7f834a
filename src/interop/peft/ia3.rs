use std::path::Path;

use serde_json::{Value, json};

use super::{
    PeftFileError,
    fields::{self, Fields},
    reader::Reader,
    targets,
    tensors::Tensors,
};
use crate::{
    base::key_table::{
        KeyRule::{Harmless, Honored, OffAt},
        KeyTable,
        Off::{Empty, False},
        UnknownKey,
    },
    peft::{Ia3, Ia3Config},
};

/// Keys of `adapter_config.json` of (IA)³ adapters in peft 0.21.
const KEYS: KeyTable = KeyTable(&[
    (
        Honored,
        &[
            "peft_type",
            "target_modules",
            "exclude_modules",
            "feedforward_modules",
            "init_ia3_weights",
            "modules_to_save",
        ],
    ),
    (Harmless, fields::ORIGIN),
    (OffAt(&[Empty, False]), &["fan_in_fan_out"]),
    // Keys of other methods, which peft ignores here.
    (OffAt(&[Empty]), OF_LAYERS),
]);

/// Keys of the choice of layers, which peft does not have for (IA)³.
const OF_LAYERS: &[&str] = &["layers_to_transform", "layers_pattern"];

/// Reads the configuration of an (IA)³ adapter. The modules must be named: peft has defaults of them for some
/// architectures, and writes what it has chosen.
pub(super) fn read(fields: &Fields<'_>) -> Result<(Ia3Config, Vec<UnknownKey>), PeftFileError> {
    let unknown = fields.check(&KEYS)?;
    let targets = targets::read(fields, None)?;
    let mut config = Ia3Config::new(targets, fields.required("feedforward_modules")?);
    config.init_ia3_weights = fields.or("init_ia3_weights", true)?;
    config.modules_to_save = fields.or("modules_to_save", Vec::new())?;
    Ok((config, unknown))
}

/// Returns the configuration as peft reads it: few keys, as all others have defaults.
///
/// # Errors
///
/// If it chooses layers, which peft would ignore.
pub(super) fn write(path: &Path, config: &Ia3Config) -> Result<Value, PeftFileError> {
    let mut fields = json!({
        "peft_type": "IA3",
        "task_type": "CAUSAL_LM",
        "inference_mode": true,
        "feedforward_modules": config.feedforward_modules,
        "init_ia3_weights": config.init_ia3_weights,
    });
    targets::write(&config.targets, &mut fields);
    let chosen = OF_LAYERS.iter().find(|key| fields.get(**key).is_some());
    match chosen {
        None => Ok(fields),
        Some(key) => Err(PeftFileError::file(
            path,
            format!(
                "peft's (IA)³ has no {key}, and would adapt all layers: put the layers into a regular expression \
                 for target_modules"
            ),
        )),
    }
}

/// Adds the factors of an adapter to those of a file: `[d_output, 1]`, or `[1, d_input]`.
pub(super) fn add(tensors: &mut Tensors<'_>, ia3: &Ia3) -> Result<(), PeftFileError> {
    let dim = usize::from(!ia3.is_feed_forward);
    tensors.add::<2>("ia3_l", ia3.l.val().unsqueeze_dim(dim))
}

/// Fills an adapter with the factors of a file.
pub(super) fn fill(reader: &mut Reader, module: &str, ia3: Ia3) -> Ia3 {
    let [size] = ia3.l.shape().dims();
    let shape = match ia3.is_feed_forward {
        true => [1, size],
        false => [size, 1],
    };
    let name = format!("{module}.ia3_l");
    match reader.take::<2>(name, shape, &ia3.l.device()) {
        Some(l) => ia3.with_factors(l.reshape([size])),
        None => ia3,
    }
}
