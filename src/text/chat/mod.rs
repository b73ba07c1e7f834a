mod conversation;
mod environment;
mod generation_marks;
mod message;
mod python;
mod record;
mod rendered_chat;
mod template;
mod template_files;

pub use conversation::Conversation;
pub use message::ChatMessage;
pub use rendered_chat::RenderedChat;
pub use template::ChatTemplate;

pub(super) use record::{RecordProblem, conversation_of_record, text_of_record};
