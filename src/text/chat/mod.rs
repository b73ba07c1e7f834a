mod message;
mod template;
mod template_files;

pub use message::ChatMessage;
pub use template::{ChatTemplate, RenderedChat};
