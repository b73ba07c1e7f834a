//! Chat templates: what they write, the files they are in, and the messages they take.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use bitnet_burn::text::{ChatMessage, ChatTemplate, Conversation, TextError, Tokenizer};
use serde_json::json;

/// A common template of chat models.
const CHAT_ML: &str = "{%- if messages[0]['role'] == 'system' %}\n    \
    {{- '<|im_start|>system\\n' + messages[0]['content'].strip() + '<|im_end|>\\n' }}\n\
    {%- endif %}\n\
    {%- for message in messages %}\n    \
    {%- if message['role'] != 'system' %}\n        \
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}\n    \
    {%- endif %}\n\
    {%- endfor %}\n\
    {%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}";

fn messages() -> Vec<ChatMessage> {
    vec![
        ChatMessage::system(" short "),
        ChatMessage::user("hi"),
        ChatMessage::assistant("hello"),
        ChatMessage::user("<b>?"),
        ChatMessage::assistant("yes"),
    ]
}

#[test]
fn a_template_writes_messages_as_transformers_does() {
    let template = ChatTemplate::new(CHAT_ML).unwrap();
    assert_eq!(
        template.render(&messages()[..4], true).unwrap(),
        "<|im_start|>system\nshort<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n\
         <|im_start|>assistant\nhello<|im_end|>\n<|im_start|>user\n<b>?<|im_end|>\n\
         <|im_start|>assistant\n"
    );
}

#[test]
fn a_template_with_filters_and_assignments_is_read() {
    // As in BitNet b1.58 2B4T.
    let source = "{% for message in messages %}{% set content = message['role'] | capitalize \
                  + ': ' + message['content'] | trim + '<|eot_id|>' %}\
                  {% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}\
                  {{ content }}{% endfor %}\
                  {% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}";
    let template = ChatTemplate::new(source).unwrap();
    let template = template.with_special_tokens("<s>", "</s>");
    assert_eq!(
        template.render(&messages()[..2], true).unwrap(),
        "<s>System: short<|eot_id|>User: hi<|eot_id|>Assistant: "
    );
    let chat = template.render_with_spans(&messages()).unwrap();
    assert_eq!(&chat.text[chat.assistant[1].clone()], "yes<|eot_id|>");
}

#[test]
fn what_transformers_adds_to_jinja_is_read() {
    let source = "{%- for m in messages -%}{% if m.role == 'user' %}{% continue %}{% endif %}\
                  {%- generation -%}{{ m.content }};{%- endgeneration -%}{%- endfor -%}\
                  {% if tools is not none or documents is not none %}tools{% endif %}\
                  {{ strftime_now('%d %b %Y') }}";
    let template = ChatTemplate::new(source).unwrap();
    let template = template.with_now(SystemTime::UNIX_EPOCH);
    let text = template.render(&messages(), false).unwrap();
    assert_eq!(text, " short ;hello;yes;01 Jan 1970");
}

#[test]
fn what_would_be_another_text_is_an_error() {
    let render = |source: &str| {
        ChatTemplate::new(source)
            .unwrap()
            .render(&messages(), false)
    };
    let error = render("{{ messages[0] | attr('role') }}").unwrap_err();
    assert!(
        error.to_string().contains("`attr` does not give"),
        "{error}"
    );
    let nested =
        "{% set n = namespace(l=[]) %}{% for i in range(600) %}{% set n.l = [n.l] %}{% endfor %}";
    for written in ["{{ n.l }}", "{{ n.l | tojson }}"] {
        let error = render(&format!("{nested}{written}")).unwrap_err();
        assert!(
            error.to_string().contains("inside of each other"),
            "{error}"
        );
    }
    let cycle = "{% for m in messages %}{{ loop.cycle( ) }}{% endfor %}";
    assert!(ChatTemplate::new(cycle).is_err());
    for source in [
        "{{ '%s' % 1 }}",
        "{{ strftime_now('%Q') }}",
        "{{ 'a b' | wordcount }}",
    ] {
        assert!(render(source).is_err(), "{source}");
    }
}

#[test]
fn expected_texts_of_constructs() {
    let expected = [
        (
            "{{ messages[3] | tojson }}",
            r#"{"role": "user", "content": "<b>?"}"#,
        ),
        (
            "{{ ['é😀'] | tojson(ensure_ascii=true) }}",
            r#"["\u00e9\ud83d\ude00"]"#,
        ),
        (
            "{{ {'b': 1, 'a': [2.0, 1e-7]} | tojson(indent=1) }}",
            "{\n \"b\": 1,\n \"a\": [\n  2.0,\n  1e-07\n ]\n}",
        ),
        (
            "{{ {'b': 1, 'a': 2} | tojson(separators=(',', ':'), sort_keys=true) }}",
            r#"{"a":2,"b":1}"#,
        ),
        (
            "{% for m in messages[:2] %}{{ loop.previtem.role if loop.previtem is defined }}<{{ loop.nextitem.role if loop.nextitem }}{% endfor %}",
            "<usersystem<",
        ),
        (
            "{{ none }}{{ true }}{{ [1.0, 'a', none] }}{{ 1e16 }}",
            "NoneTrue[1.0, 'a', None]1e+16",
        ),
        ("{{ unk_token is defined }}{{ bos_token }}", "False<s>"),
        (
            "{{ 'abc' is sequence }}{{ 'a,b'.split(',', 1) }}",
            "True['a', 'b']",
        ),
    ];
    for (source, text) in expected {
        let template = ChatTemplate::new(source)
            .unwrap()
            .with_special_token("bos_token", "<s>");
        assert_eq!(
            template.render(&messages(), false).unwrap(),
            text,
            "{source}"
        );
    }
}

#[test]
fn spans_are_what_the_assistant_says() {
    let template = ChatTemplate::new(CHAT_ML).unwrap();
    let chat = template.render_with_spans(&messages()).unwrap();
    let said: Vec<&str> = (chat.assistant.iter())
        .map(|span| &chat.text[span.clone()])
        .collect();
    assert_eq!(said, ["hello<|im_end|>\n", "yes<|im_end|>\n"]);
}

#[test]
fn a_template_that_changes_the_past_has_no_spans() {
    let source = "{{ bos_token }}{% for m in messages %}[{{ m.role[0] }}]\
                  {{ m.content if loop.last else '...' }}{% endfor %}\
                  {% if add_generation_prompt %}[a]{% endif %}";
    let template = ChatTemplate::new(source)
        .unwrap()
        .with_special_tokens("<s>", "");
    assert_eq!(
        template.render(&messages()[1..2], false).unwrap(),
        "<s>[u]hi"
    );
    let error = template.render_with_spans(&messages()).unwrap_err();
    assert!(
        matches!(error, TextError::NoPrefix { message: 2 }),
        "{error}"
    );
}

#[test]
fn a_template_can_refuse_messages() {
    let source =
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}";
    let error = ChatTemplate::new(source)
        .unwrap()
        .render(&messages(), false);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("no system"), "{error}");
}

#[test]
fn broken_jinja_is_an_error() {
    let error = ChatTemplate::new("{% for m in %}").unwrap_err().to_string();
    assert!(error.contains("syntax error"), "{error}");
    let named = ChatTemplate::new("").unwrap().with_named("rag", "\n{{");
    let error = named.unwrap_err().to_string();
    assert!(error.contains("rag:2"), "{error}");
}

#[test]
fn loops_that_would_take_hours_are_an_error() {
    let source = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    let error = ChatTemplate::new(source).unwrap().render(&[], false);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("ran out of fuel"), "{error}");
}

#[test]
fn templates_are_found_in_all_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = Tokenizer::characters("ab").unwrap();
    let load = |name| ChatTemplate::named_from_folder(&folder, name, &tokenizer);
    let render = |name| load(name).unwrap().unwrap().render(&[], true).unwrap();
    assert!(load("default").unwrap().is_none());

    let config = folder.path().join("tokenizer_config.json");
    let one = json!({"chat_template": "one {{ eos_token }}{{ bos_token is defined }}"});
    fs::write(&config, one.to_string()).unwrap();
    assert_eq!(render("default"), "one <|endoftext|>False");
    assert_eq!(render("any"), "one <|endoftext|>False");

    let named = json!({"chat_template": [{"name": "tool_use", "template": "two"}, {"name": "rag", "template": "3"}]});
    fs::write(&config, named.to_string()).unwrap();
    assert_eq!(render("rag"), "3");
    let error = load("default").unwrap_err().to_string();
    assert!(
        error.contains(r#""default", found ["tool_use", "rag"]"#),
        "{error}"
    );
    let all = ChatTemplate::from_folder(&folder, &tokenizer)
        .unwrap()
        .unwrap();
    let error = all.render(&[], true).unwrap_err().to_string();
    assert!(
        error.contains(r#""default", found ["tool_use", "rag"]"#),
        "{error}"
    );

    fs::write(folder.path().join("chat_template.jinja"), "four").unwrap();
    assert_eq!(render("default"), "four");
}

#[test]
fn a_template_for_tools_is_taken_where_there_are_tools() {
    let folder = tempfile::tempdir().unwrap();
    let further = folder.path().join("additional_chat_templates");
    fs::create_dir(&further).unwrap();
    fs::write(folder.path().join("chat_template.jinja"), "plain").unwrap();
    fs::write(further.join("tool_use.jinja"), "{{ tools | length }} tools").unwrap();
    fs::write(further.join("notes.txt"), "no template").unwrap();
    let tokenizer = Tokenizer::characters("ab").unwrap();
    let template = ChatTemplate::from_folder(&folder, &tokenizer)
        .unwrap()
        .unwrap();
    let names: Vec<_> = template.sources().collect();
    assert_eq!(
        names,
        [
            ("default", "plain"),
            ("tool_use", "{{ tools | length }} tools")
        ]
    );
    let with = Conversation::default().with_tools([json!({"name": "f"})]);
    assert_eq!(
        template.render_conversation(&with, false).unwrap(),
        "1 tools"
    );
    assert_eq!(template.render(&[], false).unwrap(), "plain");
}

/// Returns a message as templates get it.
fn written(message: ChatMessage) -> String {
    let template = ChatTemplate::new("{{ messages[0] }}").unwrap();
    template.render(&[message], false).unwrap()
}

#[test]
fn fields_keep_their_order_and_null_is_left_out() {
    let json = r#"{"tool_calls":[{"z":1,"a":2}],"role":"assistant","content":null}"#;
    let message: ChatMessage = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&message).unwrap(), json);
    assert_eq!(
        written(message),
        "{'tool_calls': [{'z': 1, 'a': 2}], 'role': 'assistant'}"
    );
}

#[test]
fn reasoning_has_the_names_that_templates_read() {
    let message = ChatMessage::assistant("4").with_field("reasoning", "sum");
    assert_eq!(
        written(message),
        "{'thinking': 'sum', 'role': 'assistant', 'content': '4', 'reasoning': 'sum', \
         'reasoning_content': 'sum'}"
    );
}

#[test]
fn what_is_no_message_is_an_error() {
    let read = |json: &str| {
        serde_json::from_str::<ChatMessage>(json)
            .unwrap_err()
            .to_string()
    };
    assert!(read(r#"{"from": "human", "value": "hi"}"#).contains("but with `from`, `value`"));
    assert!(read("[]").contains("where a message should be"));
    assert!(read(r#"{"role": 3}"#).contains("without a text as `role`"));
}

/// Writes a variable `x`.
fn printed(source: &str, x: impl serde::Serialize) -> String {
    let conversation = Conversation::default().with_variable("x", x);
    let template = ChatTemplate::new(source).unwrap();
    template.render_conversation(&conversation, false).unwrap()
}

#[test]
fn floats_print_as_in_python() {
    let floats = [
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (1e15, "1000000000000000.0"),
        (1e16, "1e+16"),
        (1.5e300, "1.5e+300"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (2.5e-10, "2.5e-10"),
        (123456.789, "123456.789"),
        (f64::NAN, "nan"),
        (f64::NEG_INFINITY, "-inf"),
    ];
    for (number, text) in floats {
        assert_eq!(printed("{{ x }}", number), text);
    }
    let json = printed(
        "{{ x | tojson }}",
        [f64::NAN, f64::INFINITY, -f64::INFINITY, 2.0],
    );
    assert_eq!(json, "[NaN, Infinity, -Infinity, 2.0]");
}

#[test]
fn containers_print_as_in_python() {
    let source = r#"{{ {'z': ["it's", x, none, true, 1e-7], 'a': 'x\ny'} }}"#;
    assert_eq!(
        printed(source, "\"'\u{a0}\u{200b}é✓"),
        r#"{'z': ["it's", '"\'\xa0\u200bé✓', None, True, 1e-07], 'a': 'x\ny'}"#
    );
}

fn at(seconds: u64, format: &str) -> Result<String, TextError> {
    let template = ChatTemplate::new(&format!("{{{{ strftime_now('{format}') }}}}")).unwrap();
    let template = template.with_now(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    template.render(&[], false)
}

#[test]
fn dates_are_pythons() {
    // 2024-02-29 09:05:07, a Thursday, and the last second of a leap year.
    let (thursday, last) = (1_709_197_507, 978_307_199);
    for (time, format, text) in [
        (
            thursday,
            "%d %b %Y|%-d %B %y|%A, %j",
            "29 Feb 2024|29 February 24|Thursday, 060",
        ),
        (
            thursday,
            "%H:%M:%S %I%p|%-I|%e|%c",
            "09:05:07 09AM|9|29|Thu Feb 29 09:05:07 2024",
        ),
        (
            thursday,
            "%F %T %D %U %W %u %w %Z%z%%",
            "2024-02-29 09:05:07 02/29/24 08 09 4 4 %",
        ),
        (0, "%c", "Thu Jan  1 00:00:00 1970"),
        (last, "%Y-%m-%d %j %p", "2000-12-31 366 PM"),
    ] {
        assert_eq!(at(time, format).unwrap(), text);
    }
}

#[test]
fn an_unknown_directive_of_a_date_is_named() {
    let error = at(0, "%d %Q").unwrap_err().to_string();
    assert!(
        error.contains("`strftime_now` does not know `%Q`"),
        "{error}"
    );
    assert!(at(0, "%").is_err());
}
