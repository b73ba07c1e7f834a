use std::sync::Arc;

use serde_json::{Map, Value};

use super::Document;
use crate::text::{
    ChatMessage, ChatTemplate, Conversation, RenderedChat, TextError, Tokenizer,
    chat::{RecordProblem, conversation_of_record},
};

/// Schema of the JSON object of a line.
#[derive(Debug, Clone)]
pub enum JsonRecord {
    /// A text, all of which counts in the loss.
    Text {
        /// Name of the field.
        field: String,
    },
    /// A prompt, which does not count, and its completion. Each is tokenized separately, as a prompt is
    /// at inference.
    PromptCompletion {
        /// Name of the prompt's field.
        prompt: String,
        /// Name of the completion's field.
        completion: String,
    },
    /// A conversation: a list of objects with `role`, `content` and any other field that the template reads.
    /// The template ends each turn.
    ///
    /// The fields `tools`, `documents` (lists of objects, or texts of JSON with these) and
    /// `chat_template_kwargs` (an object) of the record are passed to the template as well. A record with
    /// another field that the template reads is malformed; all other fields are ignored. A message of the
    /// assistant with `weight` 0 does not count.
    Messages {
        /// Name of the list's field.
        field: String,
        /// Template that renders the conversation.
        template: Arc<ChatTemplate>,
        /// Turns that count in the loss.
        trained: TrainedTurns,
    },
}

/// Turns of a conversation that count in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrainedTurns {
    /// Turns of the assistant; an error if the template does not allow them to be located.
    #[default]
    Assistant,
    /// Turns of the assistant, or all turns if they cannot be located.
    AssistantOrAll,
    /// All turns.
    All,
}

/// Error of an invalid record: the expected and the actual content, or the error of the tokenizer or
/// the template.
pub(super) enum RecordError {
    Field { expected: String, found: String },
    Text(TextError),
}

impl From<RecordProblem> for RecordError {
    fn from(problem: RecordProblem) -> Self {
        match problem {
            RecordProblem::Field { expected, found } => Self::Field { expected, found },
            RecordProblem::Template(error) => Self::Text(error),
        }
    }
}

impl From<TextError> for RecordError {
    fn from(error: TextError) -> Self {
        Self::Text(error)
    }
}

impl JsonRecord {
    /// Record with a text in the field `text`.
    pub fn text() -> Self {
        Self::Text {
            field: "text".to_string(),
        }
    }

    /// Record with a `prompt` and its `completion`.
    pub fn prompt_completion() -> Self {
        Self::PromptCompletion {
            prompt: "prompt".to_string(),
            completion: "completion".to_string(),
        }
    }

    /// Record with a conversation in the field `messages`; the assistant's turns count.
    pub fn messages(template: Arc<ChatTemplate>) -> Self {
        Self::Messages {
            field: "messages".to_string(),
            template,
            trained: TrainedTurns::default(),
        }
    }

    /// Returns the reason why no record has a token that counts.
    pub(super) fn why_masked(&self) -> &str {
        match self {
            Self::Text { .. } => "every text is empty",
            Self::PromptCompletion { .. } => "every completion is empty",
            Self::Messages { .. } => "there is no turn of the assistant that counts",
        }
    }

    /// Converts a JSON object into a document.
    pub(super) fn document(
        &self,
        json: &str,
        tokenizer: &Tokenizer,
    ) -> Result<Document, RecordError> {
        match self {
            Self::Text { field } => {
                let object = object(json)?;
                Ok(Document::new(tokenizer.encode(string(&object, field)?)?))
            }
            Self::PromptCompletion { prompt, completion } => {
                let object = object(json)?;
                Ok(Document::with_prompt(
                    &tokenizer.encode(string(&object, prompt)?)?,
                    &tokenizer.encode(string(&object, completion)?)?,
                ))
            }
            Self::Messages {
                field,
                template,
                trained,
            } => {
                // Templates see fields in file order, which the objects above do not keep.
                let record: minijinja::Value = serde_json::from_str(json).map_err(not_json)?;
                if record.kind() != minijinja::value::ValueKind::Map {
                    return Err(not_json("another value"));
                }
                let conversation = conversation_of_record(&record, field, template)?;
                chat(&conversation, template, *trained, tokenizer)
            }
        }
    }
}

fn object(json: &str) -> Result<Map<String, Value>, RecordError> {
    match serde_json::from_str(json) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(not_json("another value")),
        Err(error) => Err(not_json(error)),
    }
}

fn not_json(found: impl ToString) -> RecordError {
    RecordError::Field {
        expected: "a JSON object".to_string(),
        found: found.to_string(),
    }
}

fn string<'a>(object: &'a Map<String, Value>, field: &str) -> Result<&'a str, RecordError> {
    let found = match object.get(field) {
        Some(Value::String(text)) => return Ok(text),
        None => "no such field".to_string(),
        Some(Value::Null) => "null".to_string(),
        Some(Value::Bool(_)) => "a truth value".to_string(),
        Some(Value::Number(number)) => format!("the number {number}"),
        Some(Value::Array(list)) => format!("a list of {}", list.len()),
        Some(Value::Object(_)) => "an object".to_string(),
    };
    let expected = format!("a string in `{field}`");
    Err(RecordError::Field { expected, found })
}

fn chat(
    conversation: &Conversation,
    template: &ChatTemplate,
    trained: TrainedTurns,
    tokenizer: &Tokenizer,
) -> Result<Document, RecordError> {
    let chat = rendered(conversation, template, trained)?;
    let tokens = tokenizer.encode_with_offsets(&chat.text)?;
    // A token that begins before the assistant's turn belongs to the prompt.
    let said = |start: usize| chat.assistant.iter().any(|span| span.contains(&start));
    Ok(Document {
        mask: tokens.iter().map(|token| said(token.bytes.start)).collect(),
        tokens: tokens.into_iter().map(|token| token.token).collect(),
        ends: true,
    })
}

/// Text of a conversation and the parts of it that count.
fn rendered(
    conversation: &Conversation,
    template: &ChatTemplate,
    trained: TrainedTurns,
) -> Result<RenderedChat, RecordError> {
    let all = || -> Result<RenderedChat, TextError> {
        let text = template.render_conversation(conversation, false)?;
        let whole = 0..text.len();
        Ok(RenderedChat {
            assistant: vec![whole],
            text,
        })
    };
    let weights = weights(conversation)?;
    if trained != TrainedTurns::All && weights.contains(&false) {
        let mut chat = template.turn_spans(conversation)?;
        let mut weights = weights.into_iter();
        chat.assistant.retain(|_| weights.next().unwrap_or(true));
        return Ok(chat);
    }
    match trained {
        TrainedTurns::All => Ok(all()?),
        TrainedTurns::Assistant => Ok(template.render_conversation_with_spans(conversation)?),
        TrainedTurns::AssistantOrAll => {
            match template.render_conversation_with_spans(conversation) {
                Err(TextError::NoPrefix { .. }) => Ok(all()?),
                chat => Ok(chat?),
            }
        }
    }
}

/// Returns for each assistant turn whether it counts: `false` for a `weight` of 0.
fn weights(conversation: &Conversation) -> Result<Vec<bool>, RecordError> {
    let turns = conversation.messages.iter();
    let turns = turns.filter(|message| message.role() == ChatMessage::ASSISTANT);
    let weight = |message: &ChatMessage| match message.field("weight") {
        None => Ok(true),
        Some(weight) if weight.is_none() => Ok(true),
        Some(weight) => match weight.as_i64() {
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            _ => Err(RecordError::Field {
                expected: "0 or 1 as `weight` of a message".to_string(),
                found: weight.to_string(),
            }),
        },
    };
    turns.map(weight).collect()
}
