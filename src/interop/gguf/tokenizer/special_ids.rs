use serde_json::Value;

use super::{
    TokenizerError,
    json::{optional, string},
    keys,
    vocabulary::Vocabulary,
};
use crate::interop::gguf::{GgufError, GgufMetadata};

/// No token that a tokenizer has where a file does not tell.
const NONE: u32 = u32::MAX;

/// Ids of the tokens that have a meaning for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpecialIds {
    /// Begins a text.
    pub bos: Option<u32>,
    /// Ends a text.
    pub eos: Option<u32>,
    /// Ends a turn of a conversation.
    pub eot: Option<u32>,
    /// Ends a message that a turn goes on after.
    pub eom: Option<u32>,
    /// Stands for what no token stands for.
    pub unk: Option<u32>,
    /// Fills up batches.
    pub pad: Option<u32>,
}

impl SpecialIds {
    /// The ids in the metadata of a file.
    ///
    /// As in llama.cpp, a tokenizer of characters has 1, 2 and 0 as first, last and unknown token where
    /// the file does not tell, unless this crate has written it, and ids beyond the vocabulary are none;
    /// here that is an error for the first and the last one.
    ///
    /// # Errors
    ///
    /// If one is no id, or there is no first or last token of the id.
    pub fn from_metadata(metadata: &GgufMetadata) -> Result<Self, GgufError> {
        let tokens: Option<&[String]> = metadata.optional(keys::TOKENS)?;
        let is_token = |id: &u32| tokens.is_none_or(|tokens| (*id as usize) < tokens.len());
        let defaults = metadata.optional::<&str>(keys::MODEL)? == Some(keys::CHARACTERS)
            && metadata.get(keys::OWN_ENDS).is_none();
        let id = |key: &str, default: u32| {
            let found = metadata.optional::<u32>(key)?;
            Ok(found.or((defaults && default != NONE && is_token(&default)).then_some(default)))
        };
        let needed = |key: &str, default| match id(key, default)? {
            Some(id) if !is_token(&id) => {
                let tokens = tokens.map_or(0, <[String]>::len);
                let supported = format!("one of the {tokens} tokens");
                Err(GgufError::unsupported(key, id, supported))
            }
            id => Ok(id),
        };
        let optional = |key, default| Ok(id(key, default)?.filter(is_token));
        Ok(Self {
            bos: needed(keys::BOS_ID, 1)?,
            eos: needed(keys::EOS_ID, 2)?,
            eot: optional(keys::EOT_ID, NONE)?,
            eom: optional(keys::EOM_ID, NONE)?,
            unk: optional(keys::UNK_ID, 0)?,
            pad: optional(keys::PAD_ID, NONE)?,
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
            eot: or(self.eot, "turn's last", "eot_token")?,
            eom: or(self.eom, "message's last", "eom_token")?,
            unk: or(self.unk, "unknown", "unk_token")?,
            pad: or(self.pad, "padding", "pad_token")?,
        })
    }

    pub(super) fn write(&self, metadata: &mut GgufMetadata) -> Result<(), GgufError> {
        let ids = [
            (keys::BOS_ID, self.bos),
            (keys::EOS_ID, self.eos),
            (keys::EOT_ID, self.eot),
            (keys::EOM_ID, self.eom),
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
