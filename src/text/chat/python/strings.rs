//! Methods of Python's strings.

use minijinja::Value;

/// Returns whether `str.strip` and `str.split` treat a character as white space.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// `split` from the left, or `rsplit` from the right; without separator at runs of white space.
pub fn split(text: &str, separator: Option<&str>, limit: Option<usize>, right: bool) -> Vec<Value> {
    let mut parts: Vec<&str> = match (separator, limit, right) {
        (Some(separator), None, _) => text.split(separator).collect(),
        (Some(separator), Some(limit), false) => text.splitn(limit + 1, separator).collect(),
        (Some(separator), Some(limit), true) => text.rsplitn(limit + 1, separator).collect(),
        (None, limit, _) => words(text, limit.unwrap_or(usize::MAX), right),
    };
    if right && limit.is_some() {
        parts.reverse();
    }
    parts.into_iter().map(Value::from).collect()
}

/// Returns the words and, after `limit` words, the rest; from the right, the last word comes first.
fn words(text: &str, limit: usize, right: bool) -> Vec<&str> {
    let trimmed = |text| match right {
        true => str::trim_end_matches(text, is_space),
        false => str::trim_start_matches(text, is_space),
    };
    let (mut rest, mut words) = (trimmed(text), Vec::new());
    while !rest.is_empty() && words.len() < limit {
        let cut = match right {
            true => rest.rfind(is_space).map(|i| {
                let space = rest[i..].chars().next().map_or(1, char::len_utf8);
                (&rest[i + space..], &rest[..i])
            }),
            false => rest.find(is_space).map(|i| (&rest[..i], &rest[i..])),
        };
        let (word, after) = cut.unwrap_or((rest, ""));
        words.push(word);
        rest = trimmed(after);
    }
    if !rest.is_empty() {
        words.push(rest);
    }
    // Without a limit the words are in text order, as with a separator.
    if right && limit == usize::MAX {
        words.reverse();
    }
    words
}

/// `splitlines`, at all line ends of Python.
pub fn split_lines(text: &str, keep_ends: bool) -> Vec<Value> {
    let is_end = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let (mut lines, mut rest) = (Vec::new(), text);
    while let Some(start) = rest.find(is_end) {
        let len = match rest[start..].starts_with("\r\n") {
            true => 2,
            false => rest[start..].chars().next().map_or(1, char::len_utf8),
        };
        let end = if keep_ends { start + len } else { start };
        lines.push(Value::from(&rest[..end]));
        rest = &rest[start + len..];
    }
    if !rest.is_empty() {
        lines.push(Value::from(rest));
    }
    lines
}

/// `strip`, `lstrip` and `rstrip`: white space, or the given characters.
pub fn strip<'a>(text: &'a str, characters: Option<&str>, left: bool, right: bool) -> &'a str {
    let taken = |c: char| match characters {
        Some(characters) => characters.contains(c),
        None => is_space(c),
    };
    let text = if left {
        text.trim_start_matches(taken)
    } else {
        text
    };
    if right {
        text.trim_end_matches(taken)
    } else {
        text
    }
}

/// `title`: capitalizes the first letter of each word.
pub fn title(text: &str) -> String {
    let mut result = String::new();
    let mut inside = false;
    for c in text.chars() {
        match inside {
            true => result.extend(c.to_lowercase()),
            false => result.extend(c.to_uppercase()),
        }
        inside = c.is_alphabetic();
    }
    result
}

/// `capitalize`: the first character in upper case, the others in lower case.
pub fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars.as_str().to_lowercase().chars()).collect()
}

/// `swapcase`.
pub fn swap_case(text: &str) -> String {
    let mut result = String::new();
    for c in text.chars() {
        match c.is_uppercase() {
            true => result.extend(c.to_lowercase()),
            false => result.extend(c.to_uppercase()),
        }
    }
    result
}

/// `ljust`, `rjust` and `center`: pads to a width in characters.
pub fn justify(text: &str, width: usize, fill: char, left: bool, right: bool) -> String {
    let missing = width.saturating_sub(text.chars().count());
    let before = match (left, right) {
        // Rounds as CPython does.
        (true, true) => missing / 2 + (missing & width & 1),
        (true, false) => missing,
        _ => 0,
    };
    let fill = |count: usize| core::iter::repeat_n(fill, count);
    fill(before)
        .chain(text.chars())
        .chain(fill(missing - before))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: Vec<Value>) -> Vec<String> {
        values.iter().map(Value::to_string).collect()
    }

    #[test]
    fn splits_are_pythons() {
        let text = " a  b c ";
        assert_eq!(texts(split(text, None, None, false)), ["a", "b", "c"]);
        assert_eq!(texts(split(text, None, None, true)), ["a", "b", "c"]);
        assert_eq!(texts(split(text, None, Some(1), false)), ["a", "b c "]);
        assert_eq!(texts(split(text, None, Some(1), true)), [" a  b", "c"]);
        assert_eq!(
            texts(split("a,b,c", Some(","), Some(1), true)),
            ["a,b", "c"]
        );
        assert_eq!(
            texts(split("a,b,c", Some(","), Some(1), false)),
            ["a", "b,c"]
        );
        assert_eq!(texts(split(",a,", Some(","), None, false)), ["", "a", ""]);
        assert!(split("  ", None, None, false).is_empty());
        assert_eq!(texts(split("", Some(","), None, false)), [""]);
        assert_eq!(
            texts(split_lines("a\r\nb\n\nc\u{2028}", false)),
            ["a", "b", "", "c"]
        );
        assert_eq!(texts(split_lines("a\nb", true)), ["a\n", "b"]);
    }

    #[test]
    fn cases_and_widths_are_pythons() {
        assert_eq!(title("they're HERE x1y"), "They'Re Here X1Y");
        assert_eq!(capitalize("éCOLE A"), "École a");
        assert_eq!(swap_case("aBc"), "AbC");
        assert_eq!(justify("ab", 5, '*', true, true), "**ab*");
        assert_eq!(justify("abc", 6, '*', true, true), "*abc**");
        assert_eq!(justify("ab", 4, ' ', true, false), "  ab");
    }
}
