//! `{% generation %}`, the block that transformers adds to Jinja to mark the assistant's text.

use core::ops::Range;

use minijinja::{Error, State, Value, value::Kwargs};

use super::RenderedChat;

/// Function whose call block replaces the block, with its scope.
pub(super) const FUNCTION: &str = "__generation__";
/// Variable that enables marks around the text of such blocks.
pub(super) const MARKED: &str = "__generation_marked__";

/// Marks around the text of a block: Unicode noncharacters, reserved for internal use.
const BEGIN: char = '\u{FDD0}';
const END: char = '\u{FDD1}';

/// Replaces the blocks that Jinja does not have by call blocks. Returns the template and whether it had
/// any.
pub(super) fn as_call_blocks(source: &str) -> (String, bool) {
    let mut parts = source.split("{%");
    let mut result = parts.next().unwrap_or_default().to_string();
    let mut found = false;
    for part in parts {
        let name = part.trim_start_matches(['-', '+']).trim_start();
        let before = &part[..part.len() - name.len()];
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let end = name.find(|c| !word(c)).unwrap_or(name.len());
        let (name, rest) = name.split_at(end);
        let closes = rest
            .trim_start()
            .trim_start_matches(['-', '+'])
            .starts_with("%}");
        result.extend(["{%", before]);
        match name {
            "generation" if closes => {
                found = true;
                result.extend(["call ", FUNCTION, "()"]);
            }
            "endgeneration" if closes => result.push_str("endcall"),
            other => result.push_str(other),
        }
        result.push_str(rest);
    }
    (result, found)
}

/// Returns the text of the block, with marks around it if they are enabled.
pub(super) fn generation(state: &mut State, kwargs: Kwargs) -> Result<Value, Error> {
    let body: Value = kwargs.get("caller")?;
    let written = body.call(state, &[])?;
    match state.lookup(MARKED).is_some_and(|marked| marked.is_true()) {
        true => Ok(Value::from(format!("{BEGIN}{written}{END}"))),
        false => Ok(written),
    }
}

/// Removes the marks from a text; `None` if they do not match, as where a message contains some.
pub(super) fn without_marks(marked: &str) -> Option<RenderedChat> {
    let mut text = String::new();
    let mut assistant: Vec<Range<usize>> = Vec::new();
    let mut begun = None;
    for c in marked.chars() {
        match (c, begun) {
            (BEGIN, None) => begun = Some(text.len()),
            (END, Some(start)) => {
                assistant.push(start..text.len());
                begun = None;
            }
            (BEGIN | END, _) => return None,
            (c, _) => text.push(c),
        }
    }
    begun.is_none().then_some(RenderedChat { text, assistant })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_become_calls() {
        let (source, found) = as_call_blocks("a{%- generation -%}b{%+ endgeneration %}");
        assert_eq!(source, "a{%- call __generation__() -%}b{%+ endcall %}");
        assert!(found);
        let other = "{% set generation = 1 %}{% if generation %}{% endif %}{%";
        assert_eq!(as_call_blocks(other), (other.to_string(), false));
    }

    #[test]
    fn marks_that_do_not_go_together_are_found() {
        let chat = without_marks("a\u{FDD0}b\u{FDD1}c").unwrap();
        assert_eq!(chat.text, "abc");
        assert_eq!(chat.assistant[..], [Range { start: 1, end: 2 }]);
        assert!(without_marks("\u{FDD0}a").is_none());
        assert!(without_marks("a\u{FDD1}").is_none());
    }
}
