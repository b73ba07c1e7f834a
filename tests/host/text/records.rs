//! Files of records and of text as found in practice, and data without tokens that count.

use std::{path::PathBuf, sync::Arc};

use bitnet_burn::text::{
    TextError, Tokenizer,
    dataset::{
        Document, DocumentBatchesConfig, DocumentSource, DocumentSplit, JsonLines, JsonRecord,
        PackingConfig, SkippedLines, TextFiles, read_documents,
    },
};
use burn::{data::dataloader::DataLoader, tensor::Device};

struct File(tempfile::TempDir);

impl File {
    fn new(content: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("data"), content).unwrap();
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn records(&self, record: JsonRecord) -> JsonLines {
        JsonLines::new([self.path()], record, tokenizer())
    }
}

fn tokenizer() -> Arc<Tokenizer> {
    let printable: String = (' '..='~').chain(['\n']).collect();
    Arc::new(Tokenizer::characters(&printable).unwrap())
}

fn texts(source: &dyn DocumentSource) -> Result<Vec<String>, String> {
    let text = |document: Document| tokenizer().decode(&document.tokens).unwrap();
    let documents = source.documents();
    documents
        .map(|document| document.map(text).map_err(|error| error.to_string()))
        .collect()
}

#[test]
fn records_are_lines_or_one_list() {
    for content in [
        "{\"text\": \"a\"}\n{\"text\": \"b]\"}",
        "\u{feff}{\"text\": \"a\"}\r\n\r\n{\"text\": \"b]\"}\r\n",
        "[{\"text\": \"a\"}, {\"text\": \"b]\"}]",
        "\u{feff}\n[\n  {\n    \"text\": \"a\"\n  },\n  {\"text\": \"b]\"}\n]\n",
    ] {
        let file = File::new(content);
        let found = texts(&file.records(JsonRecord::text())).unwrap();
        assert_eq!(found, ["a", "b]"], "{content}");
    }
}

#[test]
fn a_record_of_a_list_has_a_line() {
    let file = File::new("[\n{\"text\": \"a\"},\n{\"text\":\n 3},\n{\"text\": \"b\"}]");
    let skipped = SkippedLines::new();
    let records = file.records(JsonRecord::text());
    let records = records.with_skipped(skipped.clone());
    assert_eq!(texts(&records).unwrap(), ["a", "b"]);
    assert!(
        skipped.messages()[0].ends_with("data:3: expected a string in `text`, found the number 3"),
        "{:?}",
        skipped.messages()
    );
    // Truncated content is never skipped.
    let file = File::new("[{\"text\": \"a\"},\n{\"te");
    let records = file.records(JsonRecord::text());
    let records = records.with_skipped(SkippedLines::new());
    let error = texts(&records).unwrap_err();
    assert!(error.contains("`]`, the end of the list"), "{error}");
}

#[test]
fn a_file_without_anything_is_named() {
    for (content, found) in [
        ("", "an empty file"),
        (" \n\n", "none"),
        ("[ ]", "none"),
        ("\u{feff}", "none"),
    ] {
        let error = texts(&File::new(content).records(JsonRecord::text())).unwrap_err();
        let expected = format!("data: expected records, found {found}");
        assert!(error.ends_with(&expected), "{error}");
    }
    for (content, found) in [("", "an empty file"), (" \n\n", "a blank file")] {
        let file = File::new(content);
        for split in [
            DocumentSplit::File,
            DocumentSplit::Line,
            DocumentSplit::Paragraph,
        ] {
            let files = TextFiles::new([file.path()], tokenizer()).with_split(split);
            let error = texts(&files).unwrap_err();
            assert!(error.contains("data: expected text, found a"), "{error}");
            if split == DocumentSplit::File {
                assert!(error.ends_with(found), "{error}");
            }
        }
    }
}

#[test]
fn text_in_another_encoding_is_never_skipped() {
    let utf_16: Vec<u8> = "\u{feff}{\"text\": \"a\"}\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let file = File::new(utf_16);
    let records = file
        .records(JsonRecord::text())
        .with_skipped(SkippedLines::new());
    let files = TextFiles::new([file.path()], tokenizer()).with_skipped(SkippedLines::new());
    for error in [texts(&records).unwrap_err(), texts(&files).unwrap_err()] {
        assert!(
            error.ends_with("expected text in UTF-8, found text in UTF-16"),
            "{error}"
        );
    }
}

#[test]
fn a_byte_order_mark_is_no_text() {
    let file = File::new("\u{feff}abc");
    let files = TextFiles::new([file.path()], tokenizer());
    for split in [
        DocumentSplit::File,
        DocumentSplit::Line,
        DocumentSplit::Paragraph,
    ] {
        assert_eq!(texts(&files.clone().with_split(split)).unwrap(), ["abc"]);
    }
}

#[test]
fn data_of_which_nothing_is_learned_is_refused() {
    let file = File::new("{\"prompt\": \"a\", \"completion\": \"\"}\n".repeat(3));
    let records = file.records(JsonRecord::prompt_completion());
    let error = read_documents(&records).unwrap_err();
    assert!(
        matches!(error, TextError::NothingToLearn { documents: 3, .. }),
        "{error}"
    );
    let error = error.to_string();
    assert!(
        error.contains("data\"]: every completion is empty"),
        "{error}"
    );

    // The same for repeated passes over the documents.
    let packing = PackingConfig::new(4);
    let batches = DocumentBatchesConfig::new(packing, 2, 8);
    let batches = batches.init(records, &Device::default()).unwrap();
    let error = batches.iter().find_map(Result::err).unwrap();
    assert!(
        error.to_string().contains("every completion is empty"),
        "{error}"
    );

    let one = File::new(
        "{\"prompt\": \"a\", \"completion\": \"\"}\n{\"prompt\": \"a\", \"completion\": \"b\"}\n",
    );
    let documents = read_documents(&one.records(JsonRecord::prompt_completion())).unwrap();
    assert_eq!(documents.len(), 2);
}
