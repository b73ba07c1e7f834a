use serde_json::{Value, json};

use super::{
    TokenizerError,
    json::{flag, parts, shown, type_of},
    keys,
};

/// How a tokenizer of bytes splits text into words before it merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Split {
    /// The expression that `ByteLevel` has built in, that of GPT-2.
    Gpt2,
    /// The same, after single digits.
    Gpt2Digits,
    /// Llama 3's expression: up to three digits are a word.
    Llama3,
    /// Qwen 2's expression, which differs from Llama 3's in that each digit is a word.
    Qwen2,
    /// llama.cpp's own, for files that name none: [`DEFAULT`], one after the other.
    Default,
}

/// A way to split, and the names that llama.cpp has for it; the first one is written.
struct Known {
    split: Split,
    /// Whether llama.cpp takes a word that is a token without merging.
    ignore_merges: bool,
    names: &'static [&'static str],
}

/// From llama.cpp's
/// [llama-vocab.cpp](https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp), where
/// the names of one line share their expressions. It looks names up, and has none for every
/// combination.
const KNOWN: [Known; 6] = [
    Known {
        split: Split::Gpt2,
        ignore_merges: false,
        names: &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "exaone4",
            "trillion",
            "granite-docling",
        ],
    },
    Known {
        split: Split::Gpt2Digits,
        ignore_merges: false,
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
    },
    Known {
        split: Split::Llama3,
        ignore_merges: true,
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "lfm2",
            "midm-2.0",
        ],
    },
    Known {
        split: Split::Llama3,
        ignore_merges: false,
        names: &["dbrx", "smaug-bpe"],
    },
    Known {
        split: Split::Qwen2,
        ignore_merges: false,
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "stablelm2",
            "megrez",
            "hunyuan",
            "kormo",
            "f2llmv2",
            "solar-open",
        ],
    },
    Known {
        split: Split::Default,
        ignore_merges: false,
        names: &[keys::DEFAULT_PRE],
    },
];

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Punctuation, words of GPT-2, numbers, and of these three digits at a time.
const DEFAULT: [&str; 4] = [
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
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
    let known = KNOWN
        .iter()
        .find(|known| Some(known.split) == split && known.ignore_merges == ignore_merges);
    match known {
        Some(known) => Ok(known.names[0]),
        None => Err(TokenizerError::PreTokenizer {
            found: format!("{}, ignore_merges {ignore_merges}", shown(pre_tokenizer)),
        }),
    }
}

fn split(parts: &[&Value]) -> Result<Option<Split>, TokenizerError> {
    // The bytes come last; a space before the text is something that llama.cpp does not add.
    let Some((bytes, before)) = parts.split_last() else {
        return Ok(None);
    };
    if type_of(bytes) != "ByteLevel" || flag(bytes, "add_prefix_space", true)? {
        return Ok(None);
    }
    let built_in = flag(bytes, "use_regex", true)?;
    Ok(match (before, built_in) {
        ([], true) => Some(Split::Gpt2),
        ([digits], true) if type_of(digits) == "Digits" => {
            flag(digits, "individual_digits", false)?.then_some(Split::Gpt2Digits)
        }
        ([split], false) if type_of(split) == "Split" => match expression(split) {
            Some(LLAMA3) => Some(Split::Llama3),
            Some(QWEN2) => Some(Split::Qwen2),
            _ => None,
        },
        (splits, false) if splits.len() == DEFAULT.len() => {
            let same = splits
                .iter()
                .zip(DEFAULT)
                .all(|(split, regex)| type_of(split) == "Split" && isolated(split) == Some(regex));
            same.then_some(Split::Default)
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
        .filter(|_| words)
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
    let sequence = |parts: Vec<Value>| json!({"type": "Sequence", "pretokenizers": parts});
    let split = |regex: &str| {
        json!({
            "type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false,
        })
    };
    let pre_tokenizer = match known.split {
        Split::Gpt2 => bytes(true),
        Split::Gpt2Digits => sequence(vec![
            json!({"type": "Digits", "individual_digits": true}),
            bytes(true),
        ]),
        Split::Llama3 => sequence(vec![split(LLAMA3), bytes(false)]),
        Split::Qwen2 => sequence(vec![split(QWEN2), bytes(false)]),
        Split::Default => {
            let splits = DEFAULT.map(split).into_iter();
            sequence(splits.chain([bytes(false)]).collect())
        }
    };
    Ok((pre_tokenizer, known.ignore_merges))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_recognized_again() {
        for known in KNOWN {
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
