use std::{io, path::Path};

use serde_json::{Map, Value};

use super::{HfError, error::read_json};

/// Tokens that a `config.json` or a `generation_config.json` names.
#[derive(Default)]
pub(super) struct SpecialTokens {
    pub bos: Option<u32>,
    pub eos: Vec<u32>,
    pub pad: Option<u32>,
}

impl SpecialTokens {
    pub fn of(json: &Map<String, Value>) -> Self {
        let ids = |key: &str| token_ids(json.get(key));
        Self {
            bos: ids("bos_token_id").first().copied(),
            eos: ids("eos_token_id"),
            pad: ids("pad_token_id").first().copied(),
        }
    }

    /// The tokens of the `generation_config.json` of a folder, if it has one.
    pub fn of_generation(folder: &Path) -> Result<Self, HfError> {
        match read_json(&folder.join("generation_config.json")) {
            Ok(json) => Ok(Self::of(&json)),
            Err(HfError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Self::default())
            }
            Err(error) => Err(error),
        }
    }

    /// The tokens that end a text, with those of the model first.
    pub fn with_eos(&self, mut of_model: Vec<u32>) -> Vec<u32> {
        let new = self.eos.iter().filter(|id| !of_model.contains(id));
        let new: Vec<u32> = new.copied().collect();
        of_model.extend(new);
        of_model
    }
}

/// A number or a list of them; anything else names no token.
fn token_ids(value: Option<&Value>) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}
