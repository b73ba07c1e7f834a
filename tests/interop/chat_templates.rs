//! Chat templates rendered by this crate and by transformers.

use std::time::{Duration, SystemTime};

use bitnet_burn::text::{ChatTemplate, Conversation, RenderedChat, TextError};
use serde_json::{Value, json};

use super::{
    chat_template_cases::{Case, cases},
    python,
};

/// Rendered text, and the characters of generation blocks, if any.
type Rendered = (String, Option<Vec<[usize; 2]>>);

fn load(case: &Case) -> Result<ChatTemplate, TextError> {
    let mut template = ChatTemplate::new(case.template)?;
    for (name, source) in case.named {
        template = template.with_named(name, source)?;
    }
    for (name, token) in case.special_tokens {
        template = template.with_special_token(*name, *token);
    }
    // 2024-02-29 09:05:07.
    Ok(template.with_now(SystemTime::UNIX_EPOCH + Duration::from_secs(1_709_197_507)))
}

/// Renders a case with this crate.
fn ours(case: &Case) -> Result<Rendered, String> {
    let conversation: Conversation = serde_json::from_str(case.conversation).unwrap();
    let template = load(case).map_err(|error| error.to_string())?;
    let text = template.render_conversation(&conversation, case.add_generation_prompt);
    let text = text.map_err(|error| error.to_string())?;
    let spans = case.template.contains("endgeneration").then(|| {
        let chat = template.render_conversation_with_spans(&conversation);
        in_characters(&chat.expect("what renders has spans"))
    });
    Ok((text, spans))
}

fn in_characters(chat: &RenderedChat) -> Vec<[usize; 2]> {
    let characters = |bytes: usize| chat.text[..bytes].chars().count();
    let spans = chat.assistant.iter();
    spans
        .map(|span| [characters(span.start), characters(span.end)])
        .collect()
}

/// Renders a case with transformers.
fn theirs(result: &Value) -> Result<Rendered, String> {
    match result["text"].as_str() {
        Some(text) => {
            let spans = serde_json::from_value(result["spans"].clone()).unwrap();
            Ok((text.to_string(), spans))
        }
        None => Err(result["error"].as_str().unwrap_or_default().to_string()),
    }
}

/// Returns the case as the script reads it.
fn described(case: &Case) -> Value {
    let mut named: Vec<Value> = vec![json!({"name": "default", "template": case.template})];
    let further = case.named.iter();
    named.extend(further.map(|(name, source)| json!({"name": name, "template": source})));
    json!({
        "templates": named,
        // A text, as the order of fields matters.
        "conversation": case.conversation,
        "special_tokens": case.special_tokens,
        "add_generation_prompt": case.add_generation_prompt,
    })
}

#[test]
#[ignore = "needs Python with transformers"]
fn chat_templates_are_written_as_transformers_writes_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cases.json");
    let cases = cases();
    let described: Vec<Value> = cases.iter().map(described).collect();
    std::fs::write(&path, json!(described).to_string()).unwrap();
    let results = python::run("chat_templates.py", &[&path]);
    let results: Vec<Value> = serde_json::from_str(&results).unwrap();
    assert_eq!(results.len(), cases.len());
    let mut wrong = String::new();
    for (case, result) in cases.iter().zip(&results) {
        let (ours, theirs) = (ours(case), theirs(result));
        // Both may reject it, each with its reason.
        let same = match (&ours, &theirs) {
            (Err(_), Err(_)) => case.refused,
            (ours, theirs) => ours == theirs && !case.refused,
        };
        if !same {
            wrong += &format!(
                "{}\n  ours:   {ours:?}\n  theirs: {theirs:?}\n",
                case.template
            );
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
