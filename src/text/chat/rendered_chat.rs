use std::ops::Range;

/// Rendered text of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedChat {
    /// Rendered text.
    pub text: String,
    /// Byte ranges of the assistant's text. For a template with `{% generation %}` blocks these are the
    /// blocks; otherwise each turn after its generation prompt, including its end.
    pub assistant: Vec<Range<usize>>,
}
