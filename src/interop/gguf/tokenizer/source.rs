use serde_json::Value;

use super::{
    TokenType, TokenizerError,
    json::{array, flag, id, object, optional, shown, string, type_of},
    merges::{Merge, parse_merge},
    vocabulary::Vocabulary,
};

/// A byte-pair encoding of `tokenizer.json`.
pub struct Source<'a> {
    pub vocabulary: Vocabulary<'a>,
    pub merges: Vec<Merge<'a>>,
    /// Whether characters without a token become tokens of bytes.
    pub byte_fallback: bool,
    /// Whether a word that is a token is not made by merging.
    pub ignore_merges: bool,
    pub unk_token: Option<&'a str>,
}

impl<'a> Source<'a> {
    pub fn parse(json: &'a Value, vocab_size: usize) -> Result<Self, TokenizerError> {
        let model = json.get("model").unwrap_or(&Value::Null);
        object(Some(model), "model")?;
        check_model(model)?;
        let mut vocabulary = Vocabulary::new(vocab_size)?;
        for (text, token_id) in object(model.get("vocab"), "model.vocab")? {
            vocabulary.add(text, id(Some(token_id), "model.vocab")?, TokenType::Normal)?;
        }
        if let Some(added) = optional(json, "added_tokens") {
            for token in array(Some(added), "added_tokens")? {
                let text = string(token.get("content"), "added_tokens.content")?;
                let id = id(token.get("id"), "added_tokens.id")?;
                let token_type = match flag(token, "special", false)? {
                    true => TokenType::Control,
                    false => TokenType::UserDefined,
                };
                vocabulary.add(text, id, token_type)?;
            }
        }
        let merges = array(model.get("merges"), "model.merges")?;
        Ok(Self {
            vocabulary,
            merges: merges.iter().map(parse_merge).collect::<Result<_, _>>()?,
            byte_fallback: flag(model, "byte_fallback", false)?,
            ignore_merges: flag(model, "ignore_merges", false)?,
            unk_token: match optional(model, "unk_token") {
                None => None,
                token => Some(string(token, "model.unk_token")?),
            },
        })
    }
}

/// Checks that the model is a byte-pair encoding without what llama.cpp does not know.
fn check_model(model: &Value) -> Result<(), TokenizerError> {
    let unsupported = |part, found: Option<&Value>, expected| {
        Err(TokenizerError::unsupported(part, shown(found), expected))
    };
    // Old files do not name it.
    if !["BPE", ""].contains(&type_of(model)) {
        return unsupported("model", model.get("type"), "a byte-pair encoding, BPE");
    }
    for field in ["continuing_subword_prefix", "end_of_word_suffix"] {
        let found = optional(model, field);
        if found.is_some_and(|found| found != "") {
            return unsupported("affix of tokens", found, "none");
        }
    }
    let dropout = optional(model, "dropout");
    if dropout.is_some_and(|dropout| dropout.as_f64() != Some(0.0)) {
        return unsupported("dropout", dropout, "none");
    }
    Ok(())
}
