//! Data sets of text: documents with their masks, malformed lines with their numbers, and batches that
//! are the same after resuming.

use std::{fs, path::PathBuf, sync::Arc};

use bitnet_burn::text::{
    ChatTemplate, TextError, Tokenizer,
    dataset::{
        Document, DocumentBatchesConfig, DocumentSource, DocumentSplit, EvenWindowsConfig,
        JsonLines, JsonRecord, PackingConfig, RandomWindowsConfig, SkippedLines, TextFiles,
        TokenBatch, TrainedTurns,
    },
};
use burn::{data::dataloader::DataLoader, tensor::Device};
use proptest::prelude::*;

use crate::support::values::ints;

/// A file that is removed with its folder.
struct File(tempfile::TempDir);

impl File {
    fn new(content: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("data"), content).unwrap();
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("data")
    }
}

fn tokenizer() -> Arc<Tokenizer> {
    let printable: String = (' '..='~').chain(['\n', 'é']).collect();
    Arc::new(Tokenizer::characters(&printable).unwrap())
}

fn collect(source: &impl DocumentSource) -> Vec<Document> {
    source.documents().collect::<Result<_, _>>().unwrap()
}

fn texts(source: &impl DocumentSource) -> Vec<String> {
    let tokenizer = tokenizer();
    let text = |document: &Document| tokenizer.decode(&document.tokens).unwrap();
    collect(source).iter().map(text).collect()
}

/// Returns the part of a document that counts.
fn counted(document: &Document) -> String {
    let tokens = document.tokens.iter().zip(&document.mask);
    let counted: Vec<u32> = tokens
        .filter(|(_, counts)| **counts)
        .map(|(t, _)| *t)
        .collect();
    tokenizer().decode(&counted).unwrap()
}

#[test]
fn text_files_are_split_as_configured() {
    let (a, b) = (File::new("one\r\ntwo\n\n\nthrée"), File::new("four\n"));
    let files = TextFiles::new([a.path(), b.path()], tokenizer());
    let split = |split| texts(&files.clone().with_split(split));
    assert_eq!(split(DocumentSplit::Line), ["one", "two", "thrée", "four"]);
    assert_eq!(
        split(DocumentSplit::Paragraph),
        ["one\ntwo", "thrée", "four"]
    );
    let one = TextFiles::new([b.path()], tokenizer());
    assert_eq!(texts(&one), ["four\n"]);
}

#[test]
fn a_large_file_is_one_document_in_pieces() {
    let line = "all work and no play makes a dull line\n";
    let text = line.repeat((3 << 19) / line.len());
    let file = File::new(&text);
    let documents = collect(&TextFiles::new([file.path()], tokenizer()));
    let ends: Vec<bool> = documents.iter().map(|document| document.ends).collect();
    assert_eq!(ends, [false, true]);
    let tokens: Vec<u32> = documents.into_iter().flat_map(|d| d.tokens).collect();
    assert_eq!(tokens, tokenizer().encode(&text).unwrap());
}

#[test]
fn malformed_text_is_skipped_with_its_line() {
    let file = File::new(b"one\nb\xffd\ntwo\nno \xe2\x82\xac\nthree\n");
    let files = TextFiles::new([file.path()], tokenizer()).with_split(DocumentSplit::Line);
    let error = files.documents().find_map(Result::err).unwrap().to_string();
    assert!(error.contains("data:2: expected text in UTF-8"), "{error}");

    let skipped = SkippedLines::new();
    let files = files.with_skipped(skipped.clone());
    assert_eq!(texts(&files), ["one", "two", "three"]);
    let messages = skipped.messages();
    assert_eq!((skipped.count(), messages.len()), (2, 2));
    assert!(messages[1].contains("data:4: expected characters that the tokenizer"));
    assert!(messages[1].ends_with("found ['€']"), "{messages:?}");
}

#[test]
fn a_paragraph_with_a_malformed_line_is_left_out_whole() {
    let file = File::new(b"one\nb\xffd\nrest\n\ntwo\n");
    let skipped = SkippedLines::new();
    let files = TextFiles::new([file.path()], tokenizer())
        .with_split(DocumentSplit::Paragraph)
        .with_skipped(skipped.clone());
    assert_eq!(texts(&files), ["two"]);
    assert_eq!(skipped.count(), 1);
}

#[test]
fn a_file_that_is_not_there_is_never_skipped() {
    let missing = TextFiles::new(["/no/such/file"], tokenizer()).with_skipped(SkippedLines::new());
    let error = missing.documents().next().unwrap().unwrap_err();
    assert!(matches!(error, TextError::Io { .. }), "{error}");
}

#[test]
fn prompts_do_not_count() {
    let file = File::new(
        "{\"question\": \"2 + 2?\", \"answer\": \" 4\", \"id\": 7}\n\n\
         {\"question\": \"\", \"answer\": \"free\"}\n",
    );
    let record = JsonRecord::PromptCompletion {
        prompt: "question".to_string(),
        completion: "answer".to_string(),
    };
    let lines = JsonLines::new([file.path()], record, tokenizer());
    assert_eq!(texts(&lines), ["2 + 2? 4", "free"]);
    let counts: Vec<String> = collect(&lines).iter().map(counted).collect();
    assert_eq!(counts, [" 4", "free"]);
}

fn chat_template(source: &str) -> Arc<ChatTemplate> {
    Arc::new(ChatTemplate::new(source).unwrap())
}

const CHAT: &str = "{% for m in messages %}[{{ m.role }}] {{ m.content }};{% endfor %}\
                    {% if add_generation_prompt %}[assistant] {% endif %}";

#[test]
fn the_assistant_alone_counts() {
    let file = File::new(
        "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}, \
         {\"role\": \"assistant\", \"content\": \"yes\"}, {\"role\": \"user\", \"content\": \"so\"}, \
         {\"role\": \"assistant\", \"content\": \"no\"}]}",
    );
    let lines = |record| JsonLines::new([file.path()], record, tokenizer());
    let document = &collect(&lines(JsonRecord::messages(chat_template(CHAT))))[0];
    assert_eq!(counted(document), "yes;no;");

    // Renders only the last turn.
    let forgetful = "{{ messages[-1].content }}{% if add_generation_prompt %}>{% endif %}";
    let record = |trained| JsonRecord::Messages {
        field: "messages".to_string(),
        template: chat_template(forgetful),
        trained,
    };
    let error = lines(record(TrainedTurns::Assistant)).documents().next();
    let error = error.unwrap().unwrap_err().to_string();
    assert!(
        error.contains("data:1: expected messages in which"),
        "{error}"
    );
    let document = &collect(&lines(record(TrainedTurns::AssistantOrAll)))[0];
    assert_eq!(counted(document), "no");
}

#[test]
fn malformed_records_say_what_is_wrong() {
    let file = File::new(
        "{\"text\": \"good\"}\n{\"text\": 3}\n{\"txt\": \"a\"}\n[1]\n{\"text\": \"cut\n\
         {\"text\": \"\\u4f60\"}\n",
    );
    let skipped = SkippedLines::new();
    let lines = JsonLines::new([file.path()], JsonRecord::text(), tokenizer())
        .with_skipped(skipped.clone());
    assert_eq!(texts(&lines), ["good"]);
    let expected = [
        "data:2: expected a string in `text`, found the number 3",
        "data:3: expected a string in `text`, found no such field",
        "data:4: expected a JSON object, found another value",
        "data:5: expected a JSON object, found EOF while parsing a string",
        "data:6: expected characters that the tokenizer has tokens for, found ['你']",
    ];
    let messages = skipped.messages();
    assert_eq!(messages.len(), expected.len());
    for (message, expected) in messages.iter().zip(expected) {
        assert!(message.contains(expected), "{message}");
    }

    let file = File::new("{\"messages\": [{\"role\": \"user\"}]}\n{\"messages\": []}\n");
    let record = JsonRecord::messages(chat_template(CHAT));
    let lines = JsonLines::new([file.path()], record, tokenizer());
    for error in lines.documents().map(Result::unwrap_err) {
        assert!(error.to_string().contains("in `messages`"), "{error}");
    }
}

fn rows(batch: &TokenBatch) -> (Vec<i64>, Vec<i64>) {
    (ints(batch.inputs.clone()), ints(batch.targets.clone()))
}

/// Returns the batches of an epoch without the first `skip`.
fn epoch(loader: &impl DataLoader<TokenBatch>, skip: usize) -> Vec<(Vec<i64>, Vec<i64>)> {
    let batches = loader.iter().map(|batch| rows(&batch.unwrap()));
    batches.skip(skip).collect()
}

#[test]
fn windows_of_a_step_are_those_of_seed_and_step() {
    let device = Device::default();
    let tokens: Vec<u32> = (0..500).collect();
    let config = RandomWindowsConfig::new(8, 4, 10).with_steps_per_epoch(Some(4));
    let whole = config.init(tokens.clone(), &device).unwrap();
    let batches = [epoch(&whole, 0), epoch(&whole, 0), epoch(&whole, 0)].concat();
    assert_eq!(batches.len(), 10);
    for (step, batch) in batches.iter().enumerate() {
        assert_eq!(rows(&whole.batch(step).unwrap()), *batch);
        let next: Vec<i64> = batch.0.iter().map(|token| token + 1).collect();
        assert_eq!(batch.1, next);
    }

    // A training resumed after step 6 reads the epoch before and skips two batches.
    let resumed = config.init(tokens.clone(), &device).unwrap();
    drop(resumed.iter());
    assert_eq!(epoch(&resumed, 2), batches[6..8]);
    let other = config.with_seed(1).init(tokens, &device).unwrap();
    assert_ne!(epoch(&other, 0), batches[..4]);
}

#[test]
fn parts_of_a_loader_are_the_whole() {
    let device = Device::default();
    let tokens: Vec<u32> = (0..500).collect();
    let config = RandomWindowsConfig::new(8, 4, 6);
    let whole = config.init(tokens, &device).unwrap();
    assert_eq!(whole.num_items(), 24);
    let parts = [whole.slice(0, 8), whole.slice(8, 24)];
    let of_parts = parts.iter().flat_map(|part| part.iter());
    let of_parts: Vec<_> = of_parts.map(|batch| rows(&batch.unwrap())).collect();
    assert_eq!(of_parts, epoch(&whole, 0));
}

#[test]
fn documents_go_on_where_an_epoch_ended() {
    let device = Device::default();
    let documents: Vec<Document> = (0..20)
        .map(|i| Document::new(vec![i; 3 + i as usize % 5]))
        .collect();
    let packing = PackingConfig::new(6).with_eos(Some(99));
    let config = DocumentBatchesConfig::new(packing, 2, 7).with_shuffle_buffer(8);
    let init = || config.init(documents.clone(), &device).unwrap();
    let whole = init();
    assert_eq!(whole.num_items(), 7);
    let epochs: Vec<_> = (0..6).map(|_| epoch(&whole, 0)).collect();
    assert_eq!(epochs[0].len(), 4);
    let again = init();
    let all: Vec<_> = (0..6).map(|_| epoch(&again, 0)).collect();
    assert_eq!(epochs, all);

    let resumed = init();
    for _ in 0..3 {
        drop(resumed.iter());
    }
    assert_eq!(epoch(&resumed, 1), epochs[3][1..]);
    assert_eq!(epoch(&resumed, 0), epochs[4]);

    // 120 tokens in a pass, those of the first 20 sequences: each once, in shuffled order.
    let mut read: Vec<i64> = epochs.iter().flatten().flat_map(|b| b.0.clone()).collect();
    read.truncate(120);
    let with_end = |d: &Document| d.tokens.iter().map(|&t| t.into()).chain([99]).collect();
    let mut in_order: Vec<i64> = documents.iter().flat_map::<Vec<i64>, _>(with_end).collect();
    assert_ne!(read, in_order);
    read.sort_unstable();
    in_order.sort_unstable();
    assert_eq!(read, in_order);
}

#[test]
fn a_source_without_documents_is_an_error() {
    let file = File::new("no JSON\n");
    let lines = JsonLines::new([file.path()], JsonRecord::text(), tokenizer())
        .with_skipped(SkippedLines::new());
    let config = DocumentBatchesConfig::new(PackingConfig::new(6), 2, 7);
    let batches = config.init(lines, &Device::default()).unwrap();
    let error = batches.iter().next().unwrap().unwrap_err().to_string();
    assert!(error.contains("there is no document in"), "{error}");
}

#[test]
fn masked_targets_are_ignored() {
    let documents = vec![Document::with_prompt(&[1, 2, 3], &[4, 5])];
    let config = DocumentBatchesConfig::new(PackingConfig::new(5).with_eos(Some(9)), 1, 1);
    let batches = config.init(documents, &Device::default()).unwrap();
    let no = -100;
    assert_eq!(
        epoch(&batches, 0),
        [(vec![1, 2, 3, 4, 5], vec![no, no, 4, 5, 9])]
    );
}

#[test]
fn even_windows_cover_a_text() {
    let tokens: Vec<u32> = (0..101).collect();
    let config = EvenWindowsConfig::new(10, 3, 5);
    let windows = config.init(tokens, &Device::default()).unwrap();
    let batches = epoch(&windows, 0);
    assert_eq!(batches, epoch(&windows, 0));
    let first = |row: &[i64]| row.chunks(10).map(|window| window[0]).collect::<Vec<_>>();
    assert_eq!(first(&batches[0].0), [0, 22, 45]);
    assert_eq!(first(&batches[1].0), [67, 90]);
    assert_eq!(batches[1].1.last(), Some(&100));

    let error = config.init(vec![0; 10], &Device::default()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "the data has 10 tokens, at least 11 are needed"
    );
}

/// Returns lines that are almost valid.
fn almost_a_record() -> impl Strategy<Value = Vec<u8>> {
    let lines = [
        "{\"messages\": [{\"role\": \"assistant\", \"content\": \"hi\"}], \"text\": \"a\"}",
        "{\"messages\": [{\"role\": \"user\", \"content\": null}], \"prompt\": \"a\"}",
        "{\"messages\": {}, \"text\": [], \"prompt\": \"a\", \"completion\": \"b\"}",
        "{\"text\": \"\\ud800\", \"prompt\": 1e999}",
    ];
    let line = prop::sample::select(lines.to_vec());
    (line, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(line, place, byte)| {
        let mut line = line.as_bytes().to_vec();
        let place = place.index(line.len());
        line[place] = byte;
        line
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_line_is_read_or_refused(lines in prop::collection::vec(almost_a_record(), 0..6)) {
        let file = File::new(lines.join(&b'\n'));
        let records = [
            JsonRecord::text(),
            JsonRecord::prompt_completion(),
            JsonRecord::messages(chat_template(CHAT)),
        ];
        for record in records {
            let lines = JsonLines::new([file.path()], record, tokenizer());
            for document in lines.documents() {
                match document {
                    Ok(document) => prop_assert_eq!(document.tokens.len(), document.mask.len()),
                    Err(error) => {
                        let named = matches!(error, TextError::Line { .. } | TextError::File { .. });
                        prop_assert!(named, "{}", error);
                    }
                }
            }
        }
    }
}
