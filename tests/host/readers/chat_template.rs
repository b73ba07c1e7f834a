use std::fs;

use bitnet_burn::text::{ChatMessage, ChatTemplate, Conversation};
use serde_json::json;

use super::folder::folder;

const TEMPLATE: &str = "chat_template.jinja";
const CONVERSATION: &str = "conversation.json";

/// Compiles a chat template and renders it with its own conversation or a default one.
pub fn chat_template(data: &[u8]) {
    match data.starts_with(b"--- ") {
        true => {
            let folder = folder(data, &[TEMPLATE, CONVERSATION]);
            let read =
                |name: &str| fs::read_to_string(folder.path().join(name)).unwrap_or_default();
            if let Ok(conversation) = serde_json::from_str(&read(CONVERSATION)) {
                render(&read(TEMPLATE), &conversation);
            }
        }
        false => {
            if let Ok(source) = std::str::from_utf8(data) {
                render(source, &usual());
            }
        }
    }
}

fn render(source: &str, conversation: &Conversation) {
    let Ok(template) = ChatTemplate::new(source) else {
        return;
    };
    let template = template.with_special_tokens("<s>", "</s>");
    let _ = template.render_conversation(conversation, true);
    if let Ok(chat) = template.render_conversation_with_spans(conversation) {
        for part in chat.assistant {
            assert!(chat.text.get(part).is_some());
        }
    }
}

fn usual() -> Conversation {
    let call = json!([{"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": [1.5, null]}}}]);
    let messages = [
        ChatMessage::system("Be brief."),
        ChatMessage::user("2 + 2?"),
        ChatMessage::assistant(" 4\n").with_field("reasoning_content", "2 and 2"),
        ChatMessage::user("naïve 你好"),
        ChatMessage::assistant("").with_field("tool_calls", call),
        ChatMessage::new("tool", "{}"),
    ];
    Conversation::new(messages)
        .with_tools([json!({"type": "function", "function": {"name": "add"}})])
        .with_documents([json!({"title": "T", "text": "of it"})])
        .with_variable("enable_thinking", true)
}
