use std::sync::Arc;

use serde_json::{Map, Value};

use super::Document;
use crate::text::{ChatMessage, ChatTemplate, RenderedChat, TextError, Tokenizer};

/// What the JSON object of a line holds.
#[derive(Debug, Clone)]
pub enum JsonRecord {
    /// A text, all of which counts in the loss.
    Text {
        /// Name of its field.
        field: String,
    },
    /// A prompt, which does not count, and what follows it. Each becomes tokens by itself, as a
    /// prompt does when a model is asked.
    PromptCompletion {
        /// Name of the prompt's field.
        prompt: String,
        /// Name of the completion's field.
        completion: String,
    },
    /// A conversation: a list of objects with `role` and `content`. The template ends each turn.
    Messages {
        /// Name of the list's field.
        field: String,
        /// Writes the conversation as a text.
        template: Arc<ChatTemplate>,
        /// Which turns count.
        trained: TrainedTurns,
    },
}

/// Which turns of a conversation count in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrainedTurns {
    /// Those of the assistant; a template that does not let them be told apart is an error.
    #[default]
    Assistant,
    /// Those of the assistant, or all where they cannot be told apart.
    AssistantOrAll,
    /// All.
    All,
}

/// What is wrong with a record: what is expected and what was found, or what the tokenizer or the
/// template says.
pub(super) enum RecordError {
    Field { expected: String, found: String },
    Text(TextError),
}

impl From<TextError> for RecordError {
    fn from(error: TextError) -> Self {
        Self::Text(error)
    }
}

impl JsonRecord {
    /// A text in the field `text`.
    pub fn text() -> Self {
        Self::Text {
            field: "text".to_string(),
        }
    }

    /// A `prompt` and its `completion`.
    pub fn prompt_completion() -> Self {
        Self::PromptCompletion {
            prompt: "prompt".to_string(),
            completion: "completion".to_string(),
        }
    }

    /// A conversation in the field `messages`, of which the assistant's turns count.
    pub fn messages(template: Arc<ChatTemplate>) -> Self {
        Self::Messages {
            field: "messages".to_string(),
            template,
            trained: TrainedTurns::default(),
        }
    }

    /// The document of a JSON object.
    pub(super) fn document(
        &self,
        object: &Map<String, Value>,
        tokenizer: &Tokenizer,
    ) -> Result<Document, RecordError> {
        match self {
            Self::Text { field } => Ok(Document::new(tokenizer.encode(string(object, field)?)?)),
            Self::PromptCompletion { prompt, completion } => Ok(Document::with_prompt(
                &tokenizer.encode(string(object, prompt)?)?,
                &tokenizer.encode(string(object, completion)?)?,
            )),
            Self::Messages {
                field,
                template,
                trained,
            } => {
                let messages = messages(object, field)?;
                Ok(chat(&messages, template, *trained, tokenizer)?)
            }
        }
    }
}

fn string<'a>(object: &'a Map<String, Value>, field: &str) -> Result<&'a str, RecordError> {
    match object.get(field) {
        Some(Value::String(text)) => Ok(text),
        other => Err(wrong(format!("a string in `{field}`"), other)),
    }
}

fn messages(object: &Map<String, Value>, field: &str) -> Result<Vec<ChatMessage>, RecordError> {
    let value = object.get(field);
    let expected = || format!("a list of objects with `role` and `content` in `{field}`");
    let Some(messages @ Value::Array(list)) = value else {
        return Err(wrong(expected(), value));
    };
    if list.is_empty() {
        return Err(wrong(expected(), value));
    }
    serde_json::from_value(messages.clone()).map_err(|error| RecordError::Field {
        expected: expected(),
        found: error.to_string(),
    })
}

fn wrong(expected: String, found: Option<&Value>) -> RecordError {
    let found = match found {
        None => "no such field".to_string(),
        Some(Value::Null) => "null".to_string(),
        Some(Value::Bool(_)) => "a truth value".to_string(),
        Some(Value::Number(number)) => format!("the number {number}"),
        Some(Value::String(_)) => "a string".to_string(),
        Some(Value::Array(list)) => format!("a list of {}", list.len()),
        Some(Value::Object(_)) => "an object".to_string(),
    };
    RecordError::Field { expected, found }
}

fn chat(
    messages: &[ChatMessage],
    template: &ChatTemplate,
    trained: TrainedTurns,
    tokenizer: &Tokenizer,
) -> Result<Document, TextError> {
    let all = || -> Result<RenderedChat, TextError> {
        let text = template.render(messages, false)?;
        let whole = 0..text.len();
        Ok(RenderedChat {
            assistant: vec![whole],
            text,
        })
    };
    let chat = match trained {
        TrainedTurns::All => all()?,
        TrainedTurns::Assistant => template.render_with_spans(messages)?,
        TrainedTurns::AssistantOrAll => match template.render_with_spans(messages) {
            Err(TextError::NoPrefix { .. }) => all()?,
            chat => chat?,
        },
    };
    let tokens = tokenizer.encode_with_offsets(&chat.text)?;
    // A token that begins before the assistant's turn belongs to the prompt.
    let said = |start: usize| chat.assistant.iter().any(|span| span.contains(&start));
    Ok(Document {
        mask: tokens.iter().map(|token| said(token.bytes.start)).collect(),
        tokens: tokens.into_iter().map(|token| token.token).collect(),
        ends: true,
    })
}
