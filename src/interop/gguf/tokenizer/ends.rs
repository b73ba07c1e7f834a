//! The tokens that end what a model generates.

use serde_json::{Map, Value, json};

use super::{SpecialIds, keys};
use crate::interop::{
    PretrainedLm,
    gguf::{GgufError, GgufMetadata},
};

/// Texts of tokens that end a turn, of which a file may have one as `eot_token_id`
/// ([llama-vocab.cpp](https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp)).
#[rustfmt::skip]
const TURN_ENDS: [&str; 11] = [
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>",
    "<EOT>", "_<EOT>", "[EOT]", "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
    "<end_of_utterance>",
];

/// Other texts of tokens that llama.cpp ends with.
#[rustfmt::skip]
const OTHER_ENDS: [&str; 11] = [
    "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "</s>", MESSAGE_END, "[EOS]", "<eos>",
    "<turn|>", "<|tool_response>", "[e~[",
];

const MESSAGE_END: &str = "<|eom_id|>";

/// Ends of texts that are filled in, by key, and the texts that llama.cpp knows them by without it.
#[rustfmt::skip]
const FILLED_IN: [(&str, &[&str]); 3] = [
    (keys::FIM_PAD_ID, &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"]),
    (keys::FIM_REP_ID, &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"]),
    (keys::FIM_SEP_ID, &["<|file_sep|>"]),
];

/// The tokens that end a text in a file, the one that the tokenizer names first.
///
/// They are those that llama.cpp ends with: `eos_token_id`, `eot_token_id` and `eom_token_id`, and
/// tokens whose texts it knows for ends, as `<|im_end|>`. A file of this crate has them in a list of its
/// own, which holds as long as those keys are in it.
///
/// # Errors
///
/// If a key is no id, or there is no first or last token of its id.
pub(in crate::interop::gguf) fn end_ids(metadata: &GgufMetadata) -> Result<Vec<u32>, GgufError> {
    let ids = SpecialIds::from_metadata(metadata)?;
    let named: Vec<u32> = [ids.eos, ids.eot, ids.eom].into_iter().flatten().collect();
    let own: Option<&[u32]> = metadata.optional(keys::OWN_ENDS)?;
    if let Some(own) = own.filter(|own| named.iter().all(|id| own.contains(id))) {
        return Ok(own.to_vec());
    }
    let texts: &[String] = metadata.optional(keys::TOKENS)?.unwrap_or_default();
    let mut ends = named;
    for id in by_text(metadata, texts)? {
        if !ends.contains(&id) {
            ends.push(id);
        }
    }
    let has = |text: &str| ends.iter().any(|id| is(texts, *id, text));
    // As the models with these tokens end with them, and go on after the other ones.
    let call = has("<|call|>") || has("<|calls|>");
    let end_goes_on = call && (has("<|return|>") || has("<|flush|>"));
    let last_goes_on = has("<|tool_response>");
    ends.retain(|id| {
        let goes_on =
            (end_goes_on && is(texts, *id, "<|end|>")) || (last_goes_on && is(texts, *id, "</s>"));
        !goes_on
    });
    Ok(ends)
}

fn is(texts: &[String], id: u32, text: &str) -> bool {
    texts.get(id as usize).is_some_and(|found| found == text)
}

/// Tokens that are ends by their texts, and those of filling in.
fn by_text(metadata: &GgufMetadata, texts: &[String]) -> Result<Vec<u32>, GgufError> {
    let is_end = |text: &str| TURN_ENDS.contains(&text) || OTHER_ENDS.contains(&text);
    let ends = (0..).zip(texts).filter(|(_, text)| is_end(text));
    let mut ends: Vec<u32> = ends.map(|(id, _)| id).collect();
    for (key, known) in FILLED_IN {
        let id = match metadata.optional::<u32>(key)? {
            Some(id) => Some(id).filter(|id| (*id as usize) < texts.len()),
            None => (0..)
                .zip(texts)
                .find(|(_, text)| known.contains(&text.as_str()))
                .map(|(id, _)| id),
        };
        ends.extend(id);
    }
    Ok(ends)
}

/// The ids that are written for a model which ends with several tokens: the first is the last token of a
/// text, and of the others one ends a turn and one a message, by their texts if these tell.
///
/// `text` has the texts of tokens.
pub(super) fn of_ends<'a>(ends: &[u32], text: impl Fn(u32) -> Option<&'a str>) -> [Option<u32>; 3] {
    let (eos, others) = match ends {
        [] => return [None; 3],
        [eos, others @ ..] => (*eos, others),
    };
    let is = |id: u32, known: &[&str]| text(id).is_some_and(|text| known.contains(&text));
    let eom = others.iter().copied().find(|id| is(*id, &[MESSAGE_END]));
    let rest = || others.iter().copied().filter(|id| Some(*id) != eom);
    let eot = rest().find(|id| is(*id, &TURN_ENDS)).or(rest().next());
    let eom = eom.or(rest().find(|id| Some(*id) != eot));
    [Some(eos), eot, eom]
}

/// Adds the special tokens of a model to the metadata of its tokenizer, where these do not tell, and the
/// list of all ends.
pub(in crate::interop::gguf) fn add_special_ids(
    model: &PretrainedLm,
    metadata: &mut GgufMetadata,
) -> Result<(), GgufError> {
    let texts: &[String] = metadata.optional(keys::TOKENS)?.unwrap_or_default();
    let text = |id: u32| texts.get(id as usize).map(String::as_str);
    let known: Option<u32> = metadata.optional(keys::EOS_ID)?;
    let mut ends: Vec<u32> = known.into_iter().collect();
    let others = model.eos_token_ids.iter().copied();
    ends.extend(others.filter(|id| Some(*id) != known));
    let [eos, eot, eom] = of_ends(&ends, text);
    for (key, id) in [
        (keys::BOS_ID, model.bos_token_id),
        (keys::EOS_ID, eos),
        (keys::EOT_ID, eot),
        (keys::EOM_ID, eom),
        (keys::PAD_ID, model.pad_token_id),
    ] {
        if let Some(id) = id.filter(|_| metadata.get(key).is_none()) {
            metadata.insert(key, id)?;
        }
    }
    for key in [keys::EOT_ID, keys::EOM_ID] {
        let id = metadata.optional::<u32>(key)?;
        ends.extend(id.filter(|id| !ends.contains(id)));
    }
    metadata.replace(keys::OWN_ENDS, ends)?;
    Ok(())
}

/// The `generation_config.json` of a file: the tokens that begin, end and fill up.
pub(super) fn generation_config(metadata: &GgufMetadata) -> Result<Value, GgufError> {
    let ids = SpecialIds::from_metadata(metadata)?;
    let mut config = Map::new();
    for (field, id) in [("bos_token_id", ids.bos), ("pad_token_id", ids.pad)] {
        if let Some(id) = id {
            config.insert(field.to_string(), json!(id));
        }
    }
    match end_ids(metadata)?.as_slice() {
        [] => {}
        [id] => drop(config.insert("eos_token_id".to_string(), json!(id))),
        ids => drop(config.insert("eos_token_id".to_string(), json!(ids))),
    }
    Ok(config.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(texts: &[&str], ids: &[(&str, u32)]) -> GgufMetadata {
        let mut metadata = GgufMetadata::new();
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        metadata.insert(keys::TOKENS, texts).unwrap();
        for (key, id) in ids {
            metadata.insert(*key, *id).unwrap();
        }
        metadata
    }

    #[test]
    fn ends_are_those_of_llama_cpp() {
        let texts = [
            "a",
            "<|im_end|>",
            "</s>",
            "b",
            "<|fim_pad|>",
            "<|repo_name|>",
            "c",
        ];
        let file = metadata(&texts, &[(keys::EOS_ID, 3), (keys::EOT_ID, 6)]);
        assert_eq!(end_ids(&file).unwrap(), [3, 6, 1, 2, 4, 5]);
        let harmony = ["<|end|>", "<|return|>", "<|call|>"];
        assert_eq!(end_ids(&metadata(&harmony, &[])).unwrap(), [1, 2]);
        let gemma = ["</s>", "<|tool_response>"];
        assert_eq!(end_ids(&metadata(&gemma, &[])).unwrap(), [1]);
        let beyond = metadata(&["a"], &[(keys::EOS_ID, 1)]);
        let text = end_ids(&beyond).unwrap_err().to_string();
        assert!(
            text.contains("eos_token_id is 1, supported is one of the 1 tokens"),
            "{text}"
        );
        let beyond = metadata(&["a"], &[(keys::EOT_ID, 1), (keys::PAD_ID, 7)]);
        assert!(end_ids(&beyond).unwrap().is_empty());
        assert_eq!(SpecialIds::from_metadata(&beyond).unwrap().pad, None);
    }

    #[test]
    fn the_list_of_this_crate_holds_until_a_key_is_changed() {
        let mut file = metadata(&["a", "</s>", "b"], &[(keys::EOS_ID, 0)]);
        file.insert(keys::OWN_ENDS, vec![0u32, 2]).unwrap();
        assert_eq!(end_ids(&file).unwrap(), [0, 2]);
        file.replace(keys::EOS_ID, 1u32).unwrap();
        assert_eq!(end_ids(&file).unwrap(), [1]);
    }

    #[test]
    fn ends_find_their_keys_by_their_texts() {
        let texts = ["</s>", "x", "<|eom_id|>", "<|eot_id|>"];
        let text = |id: u32| texts.get(id as usize).copied();
        let of = |ends: &[u32]| of_ends(ends, text);
        assert_eq!(of(&[0, 1, 2, 3]), [Some(0), Some(3), Some(2)]);
        assert_eq!(of(&[0, 1, 3]), [Some(0), Some(3), Some(1)]);
        assert_eq!(of(&[0, 2]), [Some(0), None, Some(2)]);
        assert_eq!(of(&[]), [None; 3]);
    }
}
