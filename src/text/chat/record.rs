//! Conversations in records of data sets.

use minijinja::{Value, value::ValueKind};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{ChatMessage, ChatTemplate, Conversation, message::pairs};
use crate::text::TextError;

const TOOLS: &str = "tools";
const DOCUMENTS: &str = "documents";
/// Field with further template variables, as in data sets of TRL.
const VARIABLES: &str = "chat_template_kwargs";
/// Reserved names that a variable cannot have.
const RESERVED: [&str; 4] = ["messages", TOOLS, DOCUMENTS, "add_generation_prompt"];
/// Fields of conversations that transformers passes to no template.
const UNREACHABLE: [&str; 3] = ["system", "system_prompt", "functions"];

/// Error of a record that is no text or no conversation for a template.
#[derive(Debug, thiserror::Error)]
pub(in crate::text) enum RecordProblem {
    /// The expected and the actual content of a field.
    #[error("expected {expected}, found {found}")]
    Field { expected: String, found: String },
    /// The error of the tokenizer or the template.
    #[error(transparent)]
    Text(#[from] TextError),
}

/// Reads the text in a field of a record.
pub(in crate::text) fn text_of_record(
    record: &Value,
    field: &str,
) -> Result<String, RecordProblem> {
    let found = attribute(record, field).unwrap_or_default();
    match found.as_str() {
        Some(text) => Ok(text.to_string()),
        None => Err(wrong(format!("a string in `{field}`"), &found)),
    }
}

/// Reads the conversation of a record: the turns in a field, `tools`, `documents` and
/// `chat_template_kwargs`. Other fields are ignored; those that the template reads as a variable, or that
/// are known to belong to a conversation, are errors.
pub(in crate::text) fn conversation_of_record(
    record: &Value,
    field: &str,
    template: &ChatTemplate,
) -> Result<Conversation, RecordProblem> {
    let conversation = conversation(record, field)?;
    for (name, value) in pairs(record).unwrap_or_default() {
        let known = [field, TOOLS, DOCUMENTS, VARIABLES].contains(&name.as_str());
        if known || value.is_none() {
            continue;
        }
        if UNREACHABLE.contains(&name.as_str()) || template.reads(&conversation, &name)? {
            let expected = format!(
                "what the chat template gets in `{field}`, `{TOOLS}`, `{DOCUMENTS}` or `{VARIABLES}`"
            );
            let found = format!("the field `{name}` beside them");
            return Err(RecordProblem::Field { expected, found });
        }
    }
    Ok(conversation)
}

impl<'de> Deserialize<'de> for Conversation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        conversation(&Value::deserialize(deserializer)?, "messages").map_err(D::Error::custom)
    }
}

/// Parts of a conversation in a record.
fn conversation(record: &Value, field: &str) -> Result<Conversation, RecordProblem> {
    let mut conversation = Conversation::new(messages(record, field)?);
    conversation.tools = list(record, TOOLS)?;
    conversation.documents = list(record, DOCUMENTS)?;
    if let Some(variables) = given(record, VARIABLES) {
        let pairs = pairs(&variables);
        let pairs =
            pairs.ok_or_else(|| wrong(format!("an object in `{VARIABLES}`"), &variables))?;
        for (name, value) in pairs {
            if RESERVED.contains(&name.as_str()) {
                let expected = format!("no `{name}` in `{VARIABLES}`: it has a place of its own");
                return Err(wrong(expected, &value));
            }
            conversation.variables.push((name, value));
        }
    }
    Ok(conversation)
}

fn messages(record: &Value, field: &str) -> Result<Vec<ChatMessage>, RecordProblem> {
    let expected = || format!("a list of objects with `role` and `content` in `{field}`");
    let list = attribute(record, field).unwrap_or_default();
    if list.kind() != ValueKind::Seq || list.len() == Some(0) {
        return Err(wrong(expected(), &list));
    }
    let messages = list.try_iter().into_iter().flatten();
    let message = |value: Value| {
        let message = ChatMessage::from_value(&value).map_err(|found| RecordProblem::Field {
            expected: expected(),
            found,
        })?;
        check_content(&message, field)?;
        Ok(message)
    };
    messages.map(message).collect()
}

/// Checks that a content is a text or a list of parts; it may be absent if there is another field, such
/// as tool calls.
fn check_content(message: &ChatMessage, field: &str) -> Result<(), RecordProblem> {
    let content = message.field("content").cloned().unwrap_or_default();
    match content.kind() {
        ValueKind::String | ValueKind::Seq => Ok(()),
        ValueKind::None | ValueKind::Undefined if message.has_more_than_content() => Ok(()),
        _ => {
            let expected =
                format!("a text or a list of parts as `content` of a message in `{field}`");
            Err(wrong(expected, &content))
        }
    }
}

/// Reads a list of objects in a field; data sets with one schema for all store it as a JSON text.
fn list(record: &Value, field: &str) -> Result<Option<Value>, RecordProblem> {
    let Some(value) = given(record, field) else {
        return Ok(None);
    };
    let expected = || format!("a list of objects in `{field}`");
    let list = match value.as_str() {
        Some(json) => serde_json::from_str(json).map_err(|_| wrong(expected(), &value))?,
        None => value.clone(),
    };
    if list.is_none() {
        return Ok(None);
    }
    let objects = list.kind() == ValueKind::Seq
        && list
            .try_iter()
            .into_iter()
            .flatten()
            .all(|item| item.kind() == ValueKind::Map);
    match objects {
        true => Ok(Some(list)),
        false => Err(wrong(expected(), &value)),
    }
}

fn attribute(record: &Value, field: &str) -> Option<Value> {
    let value = record.get_attr(field).ok();
    value.filter(|value| !value.is_undefined())
}

/// Returns a field that is not null.
fn given(record: &Value, field: &str) -> Option<Value> {
    attribute(record, field).filter(|value| !value.is_none())
}

fn wrong(expected: String, found: &Value) -> RecordProblem {
    let found = match found.kind() {
        ValueKind::Undefined => "no such field".to_string(),
        ValueKind::None => "null".to_string(),
        ValueKind::Bool => "a truth value".to_string(),
        ValueKind::Number => format!("the number {found}"),
        ValueKind::String => "a string".to_string(),
        ValueKind::Seq => format!("a list of {}", found.len().unwrap_or_default()),
        _ => "an object".to_string(),
    };
    RecordProblem::Field { expected, found }
}
