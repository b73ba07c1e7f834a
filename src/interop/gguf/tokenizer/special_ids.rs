use serde_json::Value;

use super::{
    TokenizerError,
    json::{optional, string},
    keys,
    source::Vocabulary,
};
use crate::interop::gguf::{GgufError, GgufMetadata};

/// Ids of the tokens that have a meaning for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpecialIds {
    /// Begins a text.
    pub bos: Option<u32>,
    /// Ends a text.
    pub eos: Option<u32>,
    /// Stands for what no token stands for.
    pub unk: Option<u32>,
    /// Fills up batches.
    pub pad: Option<u32>,
}

impl SpecialIds {
    /// The ids in the metadata of a file.
    ///
    /// # Errors
    ///
    /// If one is no id.
    pub fn from_metadata(metadata: &GgufMetadata) -> Result<Self, GgufError> {
        Ok(Self {
            bos: metadata.optional(keys::BOS_ID)?,
            eos: metadata.optional(keys::EOS_ID)?,
            unk: metadata.optional(keys::UNK_ID)?,
            pad: metadata.optional(keys::PAD_ID)?,
        })
    }

    /// These ids, and for those that are `None` the tokens that `tokenizer_config.json` names.
    pub(super) fn or_of_config(
        self,
        config: Option<&Value>,
        vocabulary: &Vocabulary<'_>,
    ) -> Result<Self, TokenizerError> {
        let or = |id: Option<u32>, purpose, field| match (id, config) {
            (Some(id), _) => vocabulary.check_id(id, purpose).map(Some),
            (None, Some(config)) => named(config, field, purpose, vocabulary),
            (None, None) => Ok(None),
        };
        Ok(Self {
            bos: or(self.bos, "first", "bos_token")?,
            eos: or(self.eos, "last", "eos_token")?,
            unk: or(self.unk, "unknown", "unk_token")?,
            pad: or(self.pad, "padding", "pad_token")?,
        })
    }

    pub(super) fn write(&self, metadata: &mut GgufMetadata) -> Result<(), GgufError> {
        let ids = [
            (keys::BOS_ID, self.bos),
            (keys::EOS_ID, self.eos),
            (keys::UNK_ID, self.unk),
            (keys::PAD_ID, self.pad),
        ];
        for (key, id) in ids {
            if let Some(id) = id {
                metadata.insert(key, id)?;
            }
        }
        Ok(())
    }
}

/// The id of the token in a field, which is a string or an object with `content`.
fn named(
    config: &Value,
    field: &str,
    purpose: &'static str,
    vocabulary: &Vocabulary<'_>,
) -> Result<Option<u32>, TokenizerError> {
    let Some(token) = optional(config, field) else {
        return Ok(None);
    };
    let content = if token.is_object() {
        token.get("content")
    } else {
        Some(token)
    };
    let text = string(content, field)?;
    vocabulary.id_of(text, purpose).map(Some)
}
