use minijinja::{Value, value::Serde};
use serde::Serialize;

use super::ChatMessage;

/// Turns of a conversation and the further inputs of its template.
///
/// It is deserialized from an object with `messages` and optional `tools`, `documents` and
/// `chat_template_kwargs`, which has the variables; all fields keep their order.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), bitnet_burn::text::TextError> {
/// use bitnet_burn::text::{ChatMessage, ChatTemplate, Conversation};
///
/// let template = ChatTemplate::new(
///     "{% for tool in tools %}[{{ tool | tojson }}]{% endfor %}\
///      {% for message in messages %}{{ message.content }}{% endfor %}{% if brief %}!{% endif %}",
/// )?;
/// let conversation = Conversation::new([ChatMessage::user("2 + 2?")])
///     .with_tools([serde_json::json!({"name": "add"})])
///     .with_variable("brief", true);
/// assert_eq!(template.render_conversation(&conversation, false)?, r#"[{"name": "add"}]2 + 2?!"#);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// The turns.
    pub messages: Vec<ChatMessage>,
    pub(super) tools: Option<Value>,
    pub(super) documents: Option<Value>,
    pub(super) variables: Vec<(String, Value)>,
}

impl Conversation {
    /// Creates a conversation of turns only.
    pub fn new(messages: impl IntoIterator<Item = ChatMessage>) -> Self {
        Self {
            messages: messages.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Sets the functions that the model may call, as JSON schemas.
    #[must_use]
    pub fn with_tools(mut self, tools: impl Serialize) -> Self {
        self.tools = Some(Value::from(Serde(tools)));
        self
    }

    /// Sets texts for retrieval, as objects with `title` and `text`.
    #[must_use]
    pub fn with_documents(mut self, documents: impl Serialize) -> Self {
        self.documents = Some(Value::from(Serde(documents)));
        self
    }

    /// Sets a further template variable, such as `enable_thinking`: an argument of transformers'
    /// `apply_chat_template`. A variable with the name of a special token replaces it.
    #[must_use]
    pub fn with_variable(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        self.variables
            .push((name.into(), Value::from(Serde(value))));
        self
    }

    /// Returns the conversation with the first turns only.
    pub(super) fn first(&self, turns: usize) -> Self {
        Self {
            messages: self.messages[..turns].to_vec(),
            ..self.clone()
        }
    }
}

impl From<&[ChatMessage]> for Conversation {
    fn from(messages: &[ChatMessage]) -> Self {
        Self::new(messages.iter().cloned())
    }
}
