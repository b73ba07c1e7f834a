use std::{path::Path, sync::Arc};

use minijinja::{Value, value::ValueKind};

use super::{
    Document,
    files::{FileFormat, FileTexts},
    records::Records,
    text_reader,
};
use crate::text::{
    ChatMessage, ChatTemplate, Conversation, RenderedChat, TextError, Tokenizer,
    chat::{RecordProblem, conversation_of_record, text_of_record},
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
}

impl FileFormat for JsonRecord {
    fn texts(&self, path: &Path) -> Result<FileTexts, TextError> {
        let mut records = Records::open(path)?.peekable();
        match records.peek() {
            Some(_) => Ok(Box::new(records)),
            None => Err(no_record(path)),
        }
    }

    fn document(&self, json: &str, tokenizer: &Tokenizer) -> Result<Document, RecordProblem> {
        // Keeps the fields in the order of the file, in which templates see them.
        let record: Value = serde_json::from_str(json).map_err(not_json)?;
        if record.kind() != ValueKind::Map {
            return Err(not_json("another value"));
        }
        let tokens = |field: &str| -> Result<Vec<u32>, RecordProblem> {
            Ok(tokenizer.encode(&text_of_record(&record, field)?)?)
        };
        match self {
            Self::Text { field } => Ok(Document::new(tokens(field)?)),
            Self::PromptCompletion { prompt, completion } => Ok(Document::with_prompt(
                &tokens(prompt)?,
                &tokens(completion)?,
            )),
            Self::Messages {
                field,
                template,
                trained,
            } => {
                let conversation = conversation_of_record(&record, field, template)?;
                chat(&conversation, template, *trained, tokenizer)
            }
        }
    }
}

/// Error of a file without any record.
fn no_record(path: &Path) -> TextError {
    match path.metadata().map_or(0, |metadata| metadata.len()) {
        0 => text_reader::empty(path, "records", false),
        _ => TextError::file(path, "records", "none"),
    }
}

fn not_json(found: impl ToString) -> RecordProblem {
    RecordProblem::Field {
        expected: "a JSON object".to_string(),
        found: found.to_string(),
    }
}

fn chat(
    conversation: &Conversation,
    template: &ChatTemplate,
    trained: TrainedTurns,
    tokenizer: &Tokenizer,
) -> Result<Document, RecordProblem> {
    let chat = rendered(conversation, template, trained)?;
    let tokens = tokenizer.encode_with_offsets(&chat.text)?;
    // A token that begins before the assistant's turn belongs to the prompt.
    let said = |start: usize| chat.assistant.iter().any(|span| span.contains(&start));
    Ok(Document {
        mask: tokens.iter().map(|(_, bytes)| said(bytes.start)).collect(),
        tokens: tokens.into_iter().map(|(token, _)| token).collect(),
        ends: true,
    })
}

/// Text of a conversation and the parts of it that count.
fn rendered(
    conversation: &Conversation,
    template: &ChatTemplate,
    trained: TrainedTurns,
) -> Result<RenderedChat, RecordProblem> {
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
fn weights(conversation: &Conversation) -> Result<Vec<bool>, RecordProblem> {
    let turns = conversation.messages.iter();
    let turns = turns.filter(|message| message.role() == ChatMessage::ASSISTANT);
    let weight = |message: &ChatMessage| match message.field("weight") {
        None => Ok(true),
        Some(weight) if weight.is_none() => Ok(true),
        Some(weight) => match weight.as_i64() {
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            _ => Err(RecordProblem::Field {
                expected: "0 or 1 as `weight` of a message".to_string(),
                found: weight.to_string(),
            }),
        },
    };
    turns.map(weight).collect()
}
