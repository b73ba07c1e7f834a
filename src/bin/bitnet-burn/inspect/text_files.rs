//! Tokenizers and token files.

use std::path::Path;

use bitnet_burn::text::{
    ChatTemplate, Tokenizer,
    dataset::{TokenDType, TokenFile, TokenStore},
};
use serde_json::json;

use super::Found;
use crate::error::Failure;

/// Maximum number of printed tokens.
const SHOWN: usize = 16;

pub fn tokenizer(path: &Path) -> Result<Found, Failure> {
    let tokenizer = Tokenizer::from_file(path)?;
    let json = tokenizer.json()?;
    let folder = if path.is_dir() {
        Some(path)
    } else {
        path.parent()
    };
    let template = match folder {
        Some(folder) => ChatTemplate::from_folder(folder, &tokenizer)?.is_some(),
        None => false,
    };
    let name = |id: Option<u32>| id.and_then(|id| tokenizer.token(id));
    let kind = json["model"]["type"].as_str().unwrap_or("unknown");
    let (bos, eos) = (name(tokenizer.bos()), name(tokenizer.eos()));
    let vocab_size = tokenizer.vocab_size();
    let added = json["added_tokens"].as_array().map_or(0, Vec::len);
    Ok(Found {
        kind: "tokenizer",
        json: json!({
            "model": kind, "vocab_size": vocab_size, "added_tokens": added,
            "bos": bos, "eos": eos, "chat_template": template,
        }),
        text: format!(
            "{kind}, {vocab_size} tokens, {added} of them added; beginning of text {}, end of text {}; {}\n",
            bos.as_deref().unwrap_or("none"),
            eos.as_deref().unwrap_or("none"),
            if template {
                "a chat template"
            } else {
                "no chat template"
            }
        ),
    })
}

pub fn tokens(path: &Path) -> Result<Found, Failure> {
    let described = path.with_added_extension("json").exists();
    let file = match described {
        true => TokenFile::open(path)?,
        // The format of nanoGPT.
        false => TokenFile::open_raw(path, TokenDType::U16, 1 << 16)?,
    };
    file.check()?;
    let mut first = Vec::new();
    file.read(0..file.len().min(SHOWN), &mut first)?;
    let (count, vocab_size) = (file.len(), file.vocab_size());
    Ok(Found {
        kind: "tokens",
        json: json!({
            "tokens": count, "vocab_size": vocab_size, "described": described, "first": first,
        }),
        text: match described {
            true => format!("{count} tokens, all in the vocabulary of {vocab_size}"),
            false => format!("{count} tokens of 2 bytes, without a description file"),
        } + &format!("; first {first:?}\n"),
    })
}
