//! Conversations in records: inputs of the template, tokens that count, and errors.

use std::sync::Arc;

use bitnet_burn::text::{
    ChatMessage, ChatTemplate, Conversation, TextError, Tokenizer,
    dataset::{Document, DocumentSource, JsonLines, JsonRecord},
};

const PLAIN: &str = "{% for m in messages %}[{{ m.role }}]{{ m.content }};{% endfor %}\
                     {% if add_generation_prompt %}[assistant]{% endif %}";

fn tokenizer() -> Arc<Tokenizer> {
    let printable: String = (' '..='~').chain(['\n']).collect();
    Arc::new(Tokenizer::characters(&printable).unwrap())
}

fn documents(template: &str, records: &str) -> Result<Vec<Document>, TextError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chats.jsonl");
    std::fs::write(&path, records).unwrap();
    let template = Arc::new(ChatTemplate::new(template).unwrap());
    let record = JsonRecord::messages(template);
    JsonLines::new([path], record, tokenizer())
        .documents()
        .collect()
}

/// Returns the text of the only record, and the part of it that counts.
fn only(template: &str, record: &str) -> (String, String) {
    let document = &documents(template, record).unwrap()[0];
    let counted = document.tokens.iter().zip(&document.mask);
    let counted: Vec<u32> = counted.filter(|(_, c)| **c).map(|(&t, _)| t).collect();
    let tokenizer = tokenizer();
    let text = |tokens: &[u32]| tokenizer.decode(tokens).unwrap();
    (text(&document.tokens), text(&counted))
}

fn refused(template: &str, record: &str, parts: &[&str]) {
    let error = documents(template, record).unwrap_err().to_string();
    for part in parts {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
}

#[test]
fn everything_of_a_record_that_a_template_reads_reaches_it() {
    let template = "{% if tools %}{{ tools | tojson }}{% endif %}\
                    {% for d in documents %}<{{ d.title }}>{% endfor %}{{ style }}\
                    {% for m in messages %}[{{ m.name or m.role }}]\
                    {% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}\
                    {% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}{{ m.content }};{% endfor %}\
                    {% if add_generation_prompt %}[assistant]{% endif %}";
    let record = r#"{"id": 7, "score": 0.5, "prompt": null,
        "tools": [{"type": "function", "function": {"name": "f", "about": "<x>"}}],
        "documents": [{"title": "T", "text": "x"}],
        "chat_template_kwargs": {"style": "!"},
        "messages": [{"role": "user", "content": "hi", "name": "bob"},
        {"role": "assistant", "content": null, "tool_calls": [{"z": 1, "a": 2.0}]},
        {"role": "tool", "content": [{"type": "text"}], "tool_call_id": "1"},
        {"role": "assistant", "content": "yo", "reasoning_content": "hm"}]}"#
        .replace('\n', " ");
    let (text, counted) = only(template, &record);
    assert_eq!(
        text,
        "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"about\": \"<x>\"}}]<T>!\
         [bob]hi;[assistant][{\"z\": 1, \"a\": 2.0}];[tool][{'type': 'text'}];[assistant](hm)yo;"
    );
    assert_eq!(counted, "[{\"z\": 1, \"a\": 2.0}];(hm)yo;");
}

#[test]
fn tools_may_be_a_text_of_json() {
    let template = "{{ tools | length if tools is not none else 'none' }}{{ messages[0].content }}\
                    {% if add_generation_prompt %}{% endif %}";
    let record = |tools| {
        format!(r#"{{"tools": {tools}, "messages": [{{"role": "user", "content": "x"}}]}}"#)
    };
    assert_eq!(only(template, &record(r#""[{\"name\": \"f\"}]""#)).0, "1x");
    assert_eq!(only(template, &record("[]")).0, "0x");
    assert_eq!(only(template, &record("null")).0, "nonex");
    refused(
        template,
        &record("\"f\""),
        &[":1: expected a list of objects in `tools`"],
    );
    refused(
        template,
        &record("{}"),
        &["a list of objects in `tools`, found an object"],
    );
}

#[test]
fn fields_that_no_template_reads_are_refused_by_name() {
    let user = r#""messages": [{"role": "user", "content": "x"}]"#;
    let record = |field: &str| format!("\n{{{user}, {field}}}");
    refused(
        PLAIN,
        &record(r#""system": "be kind""#),
        &[":2:", "the field `system` beside"],
    );
    let reads = "{{ mood }}{{ messages[0].content }}";
    refused(
        reads,
        &record(r#""mood": "good""#),
        &[":2:", "the field `mood` beside"],
    );
    assert_eq!(only(PLAIN, &record(r#""mood": "good""#)).0, "[user]x;");
    let kwargs = r#""chat_template_kwargs": {"mood": "good"}"#;
    assert_eq!(only(reads, &record(kwargs)).0, "goodx");
    let reserved = r#""chat_template_kwargs": {"messages": []}"#;
    refused(
        reads,
        &record(reserved),
        &["no `messages` in `chat_template_kwargs`"],
    );
}

#[test]
fn invalid_messages_are_refused_with_the_found_value() {
    let messages = |messages: &str| format!("{{\"messages\": {messages}}}");
    refused(
        PLAIN,
        &messages("[]"),
        &["in `messages`, found a list of 0"],
    );
    refused(PLAIN, "{}", &["in `messages`, found no such field"]);
    refused(
        PLAIN,
        &messages(r#"[{"from": "human", "value": "hi"}]"#),
        &["without a text as `role`, but with `from`, `value`"],
    );
    refused(
        PLAIN,
        &messages(r#"[{"role": "user"}]"#),
        &["`content`", "no such field"],
    );
    refused(
        PLAIN,
        &messages(r#"[{"role": "user", "content": 3}]"#),
        &["the number 3"],
    );
}

#[test]
fn a_turn_with_weight_0_does_not_count() {
    let record = |weight: &str| {
        format!(
            r#"{{"messages": [{{"role": "assistant", "content": "a", "weight": {weight}}},
            {{"role": "user", "content": "b"}}, {{"role": "assistant", "content": "c"}}]}}"#
        )
        .replace('\n', " ")
    };
    assert_eq!(only(PLAIN, &record("0")).1, "c;");
    assert_eq!(only(PLAIN, &record("1")).1, "a;c;");
    refused(
        PLAIN,
        &record("0.5"),
        &["0 or 1 as `weight` of a message, found 0.5"],
    );
}

#[test]
fn generation_blocks_say_what_counts() {
    let template = "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}\
                    {% generation %}{{ m.content }};{% endgeneration %}.{% else %}{{ m.content }}.{% endif %}\
                    {% endfor %}";
    let record = r#"{"messages": [{"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}]}"#;
    let (text, counted) = only(template, record);
    assert_eq!(
        (text.as_str(), counted.as_str()),
        ("[user]b.[assistant]c;.", "c;")
    );
}

#[test]
fn a_template_for_tools_is_taken_for_records_with_tools() {
    let template = ChatTemplate::new("plain").unwrap();
    let template = template.with_named("tool_use", "tools").unwrap();
    let talk = Conversation::new([ChatMessage::user("x")]);
    let text =
        |conversation: &Conversation| template.render_conversation(conversation, true).unwrap();
    assert_eq!(text(&talk), "plain");
    assert_eq!(text(&talk.with_tools(Vec::<String>::new())), "tools");
}
