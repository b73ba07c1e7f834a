use bitnet_burn::text::{
    ChatMessage, ChatTemplate, TextStream, Tokenizer, check_generation_settings,
};

use super::folder::{folder, one_file};

pub const TOKENIZER_FILE: &str = "tokenizer.json";
pub const CONFIG_FILE: &str = "tokenizer_config.json";
const NAMES: [&str; 5] = [
    TOKENIZER_FILE,
    CONFIG_FILE,
    "generation_config.json",
    "config.json",
    "chat_template.jinja",
];
const TEXT: &str = "How much wood would a woodchuck chuck?\n\n  naïve — 你好 😀 <s> [INST] 42";

/// Reads the tokenizer files of a model, or a `tokenizer.json` alone.
pub fn tokenizer(data: &[u8]) {
    match data.starts_with(b"{") {
        true => try_folder(&one_file(TOKENIZER_FILE, data)),
        false => use_tokenizer(data),
    }
}

/// Reads the files of a tokenizer and runs it.
pub fn use_tokenizer(data: &[u8]) {
    try_folder(&folder(data, &NAMES));
}

fn try_folder(folder: &tempfile::TempDir) {
    let _ = check_generation_settings(folder);
    let Ok(tokenizer) = Tokenizer::from_file(folder) else {
        return;
    };
    for text in [TEXT, "", " "] {
        let _ = tokenizer.encode_with_offsets(text);
        let _ = tokenizer.encode_with_special_tokens(text);
        if let Ok(tokens) = tokenizer.encode(text) {
            assert!(
                tokens
                    .iter()
                    .all(|&token| (token as usize) < tokenizer.vocab_size())
            );
            let _ = tokenizer.decode(&tokens);
        }
    }
    let tokens: Vec<u32> = (0..64).chain([u32::MAX]).collect();
    let _ = tokenizer.decode_text(&tokens);
    let mut stream = TextStream::new(&tokenizer);
    let pushed = tokens
        .iter()
        .try_for_each(|&token| stream.push(token).map(drop));
    let _ = pushed.and_then(|()| stream.finish());
    if let Ok(Some(template)) = ChatTemplate::from_folder(folder, &tokenizer) {
        let messages = [ChatMessage::user("2 + 2?"), ChatMessage::assistant("4")];
        let _ = template.render_with_spans(&messages);
    }
}
