use minijinja::{
    Value,
    value::{Serde, ValueKind},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Names of the field with the reasoning of a message; templates read the first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A turn of a conversation: a role, its content, and any further fields, such as `name`,
/// `tool_calls` or `reasoning_content`. Templates get all of them, in their order.
///
/// # Example
///
/// ```
/// use bitnet_burn::text::ChatMessage;
///
/// let message = ChatMessage::assistant("4").with_field("reasoning_content", "2 + 2 is 4");
/// assert_eq!(message.role(), "assistant");
/// assert_eq!(message.content(), Some("4"));
///
/// let json = r#"{"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "4"}]}"#;
/// let message: ChatMessage = serde_json::from_str(json).unwrap();
/// assert_eq!(message.content(), None); // a list of parts
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatMessage {
    role: String,
    /// All fields, including the role.
    fields: Vec<(String, Value)>,
}

impl ChatMessage {
    /// Role of the model.
    pub const ASSISTANT: &str = "assistant";

    /// Creates a turn of any role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        let role = role.into();
        let fields = vec![
            ("role".to_string(), Value::from(role.as_str())),
            ("content".to_string(), Value::from(content.into())),
        ];
        Self { role, fields }
    }

    /// Creates a system message with the instructions of the model.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new("system", content)
    }

    /// Creates a turn of the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new("user", content)
    }

    /// Creates a turn of the model.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new(Self::ASSISTANT, content)
    }

    /// Adds or replaces a field. Fields of a struct keep their order; those of a `serde_json::Value` are
    /// sorted alphabetically.
    #[must_use]
    pub fn with_field(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let (name, value) = (name.into(), Value::from(Serde(value)));
        if name == "role" {
            self.role = value.to_string();
        }
        match self.fields.iter_mut().find(|(field, _)| *field == name) {
            Some((_, place)) => *place = value,
            None => self.fields.push((name, value)),
        }
        self
    }

    /// Returns the role: `system`, `user`, `assistant` or `tool` in most templates.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// Returns the content if it is a text: a message of tool calls may have none, another a list of parts.
    pub fn content(&self) -> Option<&str> {
        self.field("content").and_then(Value::as_str)
    }

    /// Returns a field.
    pub(in crate::text) fn field(&self, name: &str) -> Option<&Value> {
        let found = self.fields.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| value)
    }

    /// Returns whether there is a field besides role and content.
    pub(super) fn has_more_than_content(&self) -> bool {
        let mut given = self.fields.iter().filter(|(_, value)| !value.is_none());
        given.any(|(name, _)| name != "role" && name != "content")
    }

    /// Creates a message with the fields of an object; an error if it has no role.
    pub(super) fn from_value(message: &Value) -> Result<Self, String> {
        let fields = pairs(message)
            .ok_or_else(|| format!("a {} where a message should be", message.kind()))?;
        let role = fields.iter().find(|(name, _)| name == "role");
        match role.and_then(|(_, role)| role.as_str()) {
            Some(role) => Ok(Self {
                role: role.to_string(),
                fields,
            }),
            None => {
                let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
                let names = names.join("`, `");
                Err(format!(
                    "a message without a text as `role`, but with `{names}`"
                ))
            }
        }
    }

    /// Returns the message as transformers passes it to templates: without null fields, and with the
    /// reasoning under the names that templates read.
    pub(super) fn for_template(&self) -> Value {
        let given = self.fields.iter().filter(|(_, value)| !value.is_none());
        let mut fields: Vec<(String, Value)> = given.cloned().collect();
        let reasoning = REASONING
            .iter()
            .find_map(|name| self.field(name).filter(|v| !v.is_none()));
        if let Some(reasoning) = reasoning.cloned() {
            if !fields.iter().any(|(name, _)| name == REASONING[1]) {
                fields.insert(0, (REASONING[1].to_string(), reasoning.clone()));
            }
            match fields.iter_mut().find(|(name, _)| name == REASONING[0]) {
                Some((_, place)) => *place = reasoning,
                None => fields.push((REASONING[0].to_string(), reasoning)),
            }
        }
        Value::from_pairs(fields)
    }
}

/// Returns the fields of an object; `None` for another value.
pub(super) fn pairs(value: &Value) -> Option<Vec<(String, Value)>> {
    let map = value
        .as_object()
        .filter(|_| value.kind() == ValueKind::Map)?;
    let pairs = map.try_iter_pairs()?;
    Some(
        pairs
            .map(|(name, value)| (name.to_string(), value))
            .collect(),
    )
}

impl Serialize for ChatMessage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.fields.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for ChatMessage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
