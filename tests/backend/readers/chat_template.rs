use bitnet_burn::text::{ChatMessage, ChatTemplate};

/// A chat template, compiled and rendered.
pub fn chat_template(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(template) = ChatTemplate::new(source) else {
        return;
    };
    let template = template.with_special_tokens("<s>", "</s>");
    let messages = [
        ChatMessage::system("Be brief."),
        ChatMessage::user("2 + 2?"),
        ChatMessage::assistant(" 4\n"),
        ChatMessage::user("naïve 你好"),
    ];
    let _ = template.render(&messages, true);
    if let Ok(chat) = template.render_with_spans(&messages) {
        for part in chat.assistant {
            assert!(chat.text.get(part).is_some());
        }
    }
}
