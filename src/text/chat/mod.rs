mod conversation;
mod environment;
mod generation_marks;
mod message;
mod python;
mod record;
mod template;
mod template_files;

pub use conversation::Conversation;
pub use message::ChatMessage;
pub use template::{ChatTemplate, RenderedChat};

pub(super) use record::{RecordProblem, conversation_of_record};
