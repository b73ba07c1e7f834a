use regex::Regex;

use super::PeftError;

/// Returns a regular expression that matches whole names, as `re.fullmatch` of Python.
///
/// # Errors
///
/// If it cannot be read. Python's look-around and back references are not supported.
pub(super) fn full_match(field: &'static str, pattern: &str) -> Result<Regex, PeftError> {
    Regex::new(&format!(r"\A(?:{pattern})\z")).map_err(|error| PeftError::Pattern {
        field,
        message: error.to_string(),
    })
}

/// Returns a regular expression for the keys of `rank_pattern` and `alpha_pattern`, which match the last parts
/// of a name: `re.match(r"(.*\.)?(key)$", name)` of peft.
///
/// # Errors
///
/// If it cannot be read.
pub(super) fn last_parts(field: &'static str, key: &str) -> Result<Regex, PeftError> {
    full_match(field, &format!(r"(?:.*\.)?(?:{key})"))
}

/// Returns the value of the first key that matches a name.
pub(super) fn first_match<T: Copy>(patterns: &[(Regex, T)], name: &str) -> Option<T> {
    let found = patterns.iter().find(|(key, _)| key.is_match(name));
    found.map(|&(_, value)| value)
}
