use serde_json::{Value, json};

use super::{
    TokenizerError,
    json::{flag, parts, shown, type_of},
    keys,
};

/// A way to split text into words before a tokenizer of bytes merges, and the names that llama.cpp has for
/// it; the first one is written.
struct Known {
    /// True if each digit is split from all else first.
    digits: bool,
    /// Expressions of words, one after the other; none for the one that `ByteLevel` has built in.
    words: &'static [&'static str],
    /// Whether llama.cpp takes a word that is a token without merging.
    ignore_merges: bool,
    names: &'static [&'static str],
}

const GPT2: &[&str] = &[];
/// Up to three digits are a word.
const LLAMA3: &[&str] = &[
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];
/// As Llama 3, but each digit is a word.
const QWEN2: &[&str] = &[
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];
/// llama.cpp's own, for files that name none: punctuation, words of GPT-2, numbers, and of these three
/// digits at a time.
const DEFAULT: &[&str] = &[
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
];

/// From llama.cpp's
/// [llama-vocab.cpp](https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp), where
/// the names of one line share their expressions. It looks names up, and has none for every
/// combination.
#[rustfmt::skip]
static KNOWN: [Known; 6] = [
    Known { digits: false, words: GPT2, ignore_merges: false, names: &[
        "gpt-2", "phi-2", "mpt", "olmo", "jais", "gigachat", "a.x-4.0", "mellum", "exaone4",
        "trillion", "granite-docling",
    ]},
    Known { digits: true, words: GPT2, ignore_merges: false, names: &[
        "smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b",
        "mellum2",
    ]},
    Known { digits: false, words: LLAMA3, ignore_merges: true, names: &[
        "llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2", "midm-2.0",
    ]},
    Known { digits: false, words: LLAMA3, ignore_merges: false, names: &["dbrx", "smaug-bpe"] },
    Known { digits: false, words: QWEN2, ignore_merges: false, names: &[
        "qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan", "kormo", "f2llmv2",
        "solar-open",
    ]},
    Known { digits: false, words: DEFAULT, ignore_merges: false, names: &[keys::DEFAULT_PRE] },
];

/// Whether words are made of bytes, as opposed to characters.
pub fn is_byte_level(pre_tokenizer: Option<&Value>) -> Result<bool, TokenizerError> {
    let parts = parts(pre_tokenizer, "pretokenizers")?;
    Ok(parts.iter().any(|part| type_of(part) == "ByteLevel"))
}

/// The name that llama.cpp has for a pre-tokenizer.
pub fn recognize(
    pre_tokenizer: Option<&Value>,
    ignore_merges: bool,
) -> Result<&'static str, TokenizerError> {
    let split = split(&parts(pre_tokenizer, "pretokenizers")?)?;
    let known = KNOWN.iter().find(|known| {
        let same = |(digits, words)| known.digits == digits && known.words == words;
        known.ignore_merges == ignore_merges && split.clone().is_some_and(same)
    });
    match known {
        Some(known) => Ok(known.names[0]),
        None => Err(TokenizerError::PreTokenizer {
            found: format!("{}, ignore_merges {ignore_merges}", shown(pre_tokenizer)),
        }),
    }
}

/// A flag that digits are split first, and the expressions of words.
type Split<'a> = (bool, Vec<&'a str>);

fn split<'a>(parts: &[&'a Value]) -> Result<Option<Split<'a>>, TokenizerError> {
    // The bytes come last; a space before the text is something that llama.cpp does not add.
    let Some((bytes, before)) = parts.split_last() else {
        return Ok(None);
    };
    if type_of(bytes) != "ByteLevel" || flag(bytes, "add_prefix_space", true)? {
        return Ok(None);
    }
    let built_in = flag(bytes, "use_regex", true)?;
    Ok(match (before, built_in) {
        ([], true) => Some((false, Vec::new())),
        ([digits], true) if type_of(digits) == "Digits" => {
            flag(digits, "individual_digits", false)?.then(|| (true, Vec::new()))
        }
        ([split], false) => expression(split).map(|words| (false, vec![words])),
        ([_, ..], false) => {
            let words = before.iter().map(|split| isolated(split));
            words.collect::<Option<_>>().map(|words| (false, words))
        }
        _ => None,
    })
}

/// The expression of a split whose matches are words, and what is between them, too.
fn isolated(split: &Value) -> Option<&str> {
    let isolated = split.get("behavior").and_then(Value::as_str) == Some("Isolated");
    expression(split).filter(|_| isolated)
}

/// The expression of a split whose matches are the words: alone, or with what is between, which is
/// nothing, as the known expressions match everything.
fn expression(split: &Value) -> Option<&str> {
    let behavior = split.get("behavior")?.as_str()?;
    let invert = split
        .get("invert")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let words = matches!((behavior, invert), ("Isolated", false) | ("Removed", true));
    split
        .get("pattern")?
        .get("Regex")?
        .as_str()
        .filter(|_| words && type_of(split) == "Split")
}

/// A pre-tokenizer that splits as llama.cpp does under a name, and whether words that are tokens are
/// not merged.
pub fn of_name(name: &str) -> Result<(Value, bool), TokenizerError> {
    let known = KNOWN.iter().find(|known| known.names.contains(&name));
    let Some(known) = known else {
        return Err(TokenizerError::Pre {
            found: name.to_string(),
        });
    };
    let bytes = |use_regex: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": use_regex,
        })
    };
    let split = |regex: &&str| {
        json!({
            "type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false,
        })
    };
    let digits = json!({"type": "Digits", "individual_digits": true});
    let digits = Some(digits).filter(|_| known.digits);
    let before = digits.into_iter().chain(known.words.iter().map(split));
    let mut parts: Vec<Value> = before.collect();
    parts.push(bytes(known.words.is_empty()));
    let pre_tokenizer = match parts.len() {
        1 => parts.remove(0),
        _ => json!({"type": "Sequence", "pretokenizers": parts}),
    };
    Ok((pre_tokenizer, known.ignore_merges))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_recognized_again() {
        for known in &KNOWN {
            for name in known.names {
                let (pre_tokenizer, ignore_merges) = of_name(name).unwrap();
                assert!(is_byte_level(Some(&pre_tokenizer)).unwrap());
                let recognized = recognize(Some(&pre_tokenizer), ignore_merges).unwrap();
                assert_eq!(recognized, known.names[0]);
            }
        }
        assert!(matches!(of_name("viking"), Err(TokenizerError::Pre { .. })));
    }

    #[test]
    fn what_is_not_recognized() {
        let prefix = json!({"type": "ByteLevel", "add_prefix_space": true});
        let (llama3, _) = of_name("llama-bpe").unwrap();
        let mut other = llama3.clone();
        other["pretokenizers"][0]["pattern"]["Regex"] = r"\s+".into();
        let (gpt2, _) = of_name("gpt-2").unwrap();
        for (pre_tokenizer, ignore_merges) in [(prefix, false), (other, true), (gpt2, true)] {
            let error = recognize(Some(&pre_tokenizer), ignore_merges).unwrap_err();
            assert!(error.to_string().contains("with_pre"), "{error}");
        }
        assert!(recognize(None, false).is_err());
        let mut removed = llama3;
        removed["pretokenizers"][0]["behavior"] = "Removed".into();
        assert!(recognize(Some(&removed), true).is_err());
        removed["pretokenizers"][0]["invert"] = true.into();
        assert_eq!(recognize(Some(&removed), false).unwrap(), "dbrx");
    }
}
