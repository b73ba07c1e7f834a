use std::sync::{Arc, LazyLock};

use bitnet_burn::text::{
    ChatTemplate, Tokenizer,
    dataset::{Document, DocumentSource, JsonLines, JsonRecord, SkippedLines, TrainedTurns},
};

use super::folder::one_file;

const CHAT: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}\
                    {% if add_generation_prompt %}<assistant>{% endif %}";

/// Tokenizer of printable ASCII.
pub static TOKENIZER: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| {
    let printable: String = (' '..='~').chain(['\n']).collect();
    Arc::new(Tokenizer::characters(&printable).expect("characters"))
});

static TEMPLATE: LazyLock<Arc<ChatTemplate>> =
    LazyLock::new(|| Arc::new(ChatTemplate::new(CHAT).expect("a template")));

/// Reads JSON lines, as every kind of record.
pub fn json_lines(data: &[u8]) {
    let folder = one_file("lines.jsonl", data);
    let path = folder.path().join("lines.jsonl");
    let any_turns = JsonRecord::Messages {
        field: "messages".to_string(),
        template: TEMPLATE.clone(),
        trained: TrainedTurns::AssistantOrAll,
    };
    let records = [
        JsonRecord::text(),
        JsonRecord::prompt_completion(),
        JsonRecord::messages(TEMPLATE.clone()),
        any_turns,
    ];
    for record in records {
        let lines = JsonLines::new([&path], record, TOKENIZER.clone());
        let strict: Result<Vec<_>, _> = lines.documents().collect();
        let skipped = SkippedLines::new();
        let lenient = lines.with_skipped(skipped.clone());
        let documents: Vec<_> = lenient.documents().filter_map(Result::ok).collect();
        documents.iter().for_each(check);
        if strict.is_ok() {
            assert_eq!(skipped.count(), 0);
        }
    }
}

/// Checks the invariants of a document.
pub fn check(document: &Document) {
    assert_eq!(document.tokens.len(), document.mask.len());
}
