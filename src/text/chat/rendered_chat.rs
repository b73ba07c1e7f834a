use std::ops::Range;

/// A conversation as a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedChat {
    /// The text.
    pub text: String,
    /// The bytes of the text that the assistant says: of a template with `{% generation %}` blocks what
    /// these write, of another for each turn what it writes behind the prompt, its end among it.
    pub assistant: Vec<Range<usize>>,
}
