use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{
    TokenType, TokenizerError,
    json::{array, string},
    vocabulary::Vocabulary,
};

/// Two tokens that become one.
pub type Merge<'a> = (&'a str, &'a str);

/// Longest token, in bytes, that is looked for its parts: their number goes with its length, and the
/// time for all with the square.
const MAX_LEN: usize = 1024;

fn wrong(left: &str, right: &str, reason: &'static str) -> TokenizerError {
    TokenizerError::Merge {
        merge: format!("{left} {right}"),
        reason,
    }
}

/// A merge of `tokenizer.json`: a pair, or in older files a text with a space between.
pub fn parse_merge(merge: &Value) -> Result<Merge<'_>, TokenizerError> {
    let path = "model.merges";
    let (left, right) = match merge {
        Value::String(text) => split(text)?,
        pair => match array(Some(pair), path)?.as_slice() {
            [left, right] => (string(Some(left), path)?, string(Some(right), path)?),
            _ => return Err(wrong(&pair.to_string(), "", "expected two parts")),
        },
    };
    // The metadata have them as texts with a space between.
    if left.contains(' ') || right.contains(' ') {
        return Err(wrong(left, right, "llama.cpp has no merges of spaces"));
    }
    if left.is_empty() || right.is_empty() {
        return Err(wrong(left, right, "a part is empty"));
    }
    Ok((left, right))
}

/// The parts of a merge that is a text.
pub fn split(text: &str) -> Result<Merge<'_>, TokenizerError> {
    let mut parts = text.split(' ');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(left), Some(right), None) if !left.is_empty() && !right.is_empty() => {
            Ok((left, right))
        }
        _ => Err(TokenizerError::Merge {
            merge: text.to_string(),
            reason: "expected two parts with a space between",
        }),
    }
}

/// Checks that parts and results of merges are tokens, without which Hugging Face's library does not
/// load a tokenizer.
pub fn check(merges: &[Merge<'_>], vocabulary: &Vocabulary<'_>) -> Result<(), TokenizerError> {
    let is_token = |text: &str| vocabulary.type_of(text).is_some();
    for &(left, right) in merges {
        let whole = [left, right].concat();
        if ![left, right, &whole].into_iter().all(is_token) {
            return Err(wrong(left, right, "its parts or its result are no tokens"));
        }
    }
    Ok(())
}

/// The scores of tokens with which llama.cpp merges in the order of `merges`.
///
/// llama.cpp has no list of merges for tokens of characters, as sentencepiece has none: of all
/// neighbours that are a token together it merges those first whose token has the highest score. So
/// the score of a token is minus the rank of the merge that makes it: `-(rank)` falls as the ranks
/// rise. Tokens that no merge makes are below all others; which score they have does not matter, as
/// they are no result.
pub fn scores(vocabulary: &Vocabulary<'_>, merges: &[Merge<'_>]) -> Vec<f32> {
    let mut ranks: HashMap<String, usize> = HashMap::new();
    for (rank, (left, right)) in merges.iter().enumerate() {
        ranks.entry([*left, *right].concat()).or_insert(rank);
    }
    let score = |token: Option<(&str, TokenType)>| {
        let rank = token.and_then(|(text, _)| ranks.get(text).copied());
        -(rank.unwrap_or(merges.len()) as f32)
    };
    vocabulary.iter().map(score).collect()
}

/// Checks that merging by scores does the same as merging by ranks: that there is a merge for every
/// two tokens which are a third one together, and that all merges of a token are neighbours in the
/// order.
pub fn check_scores(
    vocabulary: &Vocabulary<'_>,
    merges: &[Merge<'_>],
) -> Result<(), TokenizerError> {
    let mut made = HashSet::new();
    let mut last = String::new();
    for &(left, right) in merges {
        let whole = [left, right].concat();
        if whole != last && !made.insert(whole.clone()) {
            let reason = "llama.cpp would do it together with an earlier one of the same token: \
                          allow that with `with_inexact_merges`";
            return Err(wrong(left, right, reason));
        }
        last = whole;
    }
    let merges: HashSet<Merge<'_>> = merges.iter().copied().collect();
    let is_normal = |text: &str| vocabulary.type_of(text) == Some(TokenType::Normal);
    for (text, token_type) in vocabulary.iter().flatten() {
        if token_type != TokenType::Normal {
            continue;
        }
        for (left, right) in parts(text)? {
            if is_normal(left) && is_normal(right) && !merges.contains(&(left, right)) {
                let reason = "the tokenizer does not do it, llama.cpp would: allow that with \
                              `with_inexact_merges`";
                return Err(wrong(left, right, reason));
            }
        }
    }
    Ok(())
}

/// All ways to cut a token in two.
fn parts(text: &str) -> Result<impl Iterator<Item = Merge<'_>>, TokenizerError> {
    if text.len() > MAX_LEN {
        let found = format!("of {} bytes", text.len());
        return Err(TokenizerError::unsupported(
            "token",
            found,
            "at most 1024 bytes",
        ));
    }
    let places = text.char_indices().skip(1);
    Ok(places.map(|(place, _)| text.split_at(place)))
}

/// The merges that scores stand for, as transformers derives them from sentencepiece's models: those
/// of the token with the highest score first, and of one token those with the longest left part.
pub fn of_scores<'a>(
    vocabulary: &Vocabulary<'a>,
    scores: &[f32],
) -> Result<Vec<Merge<'a>>, TokenizerError> {
    let is_normal = |text: &str| vocabulary.type_of(text) == Some(TokenType::Normal);
    let mut merges = Vec::new();
    for (id, text, _) in vocabulary
        .tokens()
        .filter(|token| token.2 == TokenType::Normal)
    {
        let parts = parts(text)?;
        let parts = parts.filter(|(left, right)| is_normal(left) && is_normal(right));
        merges.extend(parts.map(|(left, right)| (id, left, right)));
    }
    let score = |id: usize| scores.get(id).copied().unwrap_or(f32::MIN);
    merges.sort_by(|a, b| {
        let by_score = score(b.0).total_cmp(&score(a.0));
        by_score.then(a.0.cmp(&b.0)).then(b.1.len().cmp(&a.1.len()))
    });
    let merges = merges.into_iter();
    Ok(merges.map(|(_, left, right)| (left, right)).collect())
}
