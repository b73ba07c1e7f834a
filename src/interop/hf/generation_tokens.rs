use std::{fs, io, path::Path};

use serde_json::{Map, Value};

use super::{HfError, config::token_ids};

/// Tokens that `generation_config.json` names.
#[derive(Default)]
pub(super) struct GenerationTokens {
    pub bos: Option<u32>,
    pub eos: Vec<u32>,
    pub pad: Option<u32>,
}

impl GenerationTokens {
    pub fn read(folder: &Path) -> Result<Self, HfError> {
        let path = folder.join("generation_config.json");
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(HfError::io(&path)(error)),
        };
        let json: Map<String, Value> =
            serde_json::from_slice(&json).map_err(|error| HfError::config(&path, error))?;
        let ids = |key: &str| token_ids(json.get(key));
        Ok(Self {
            bos: ids("bos_token_id").first().copied(),
            eos: ids("eos_token_id"),
            pad: ids("pad_token_id").first().copied(),
        })
    }

    /// The tokens that end a text, with those of the model first.
    pub fn with_eos(&self, mut of_model: Vec<u32>) -> Vec<u32> {
        let new = self.eos.iter().filter(|id| !of_model.contains(id));
        let new: Vec<u32> = new.copied().collect();
        of_model.extend(new);
        of_model
    }
}
