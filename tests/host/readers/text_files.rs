use bitnet_burn::text::dataset::{DocumentSource, DocumentSplit, SkippedLines, TextFiles};

use super::{
    folder::one_file,
    json_lines::{TOKENIZER, check},
};

/// Reads a text, split in every way.
pub fn text_files(data: &[u8]) {
    let folder = one_file("text.txt", data);
    let path = folder.path().join("text.txt");
    for split in [
        DocumentSplit::File,
        DocumentSplit::Paragraph,
        DocumentSplit::Line,
    ] {
        let files = TextFiles::new([&path], TOKENIZER.clone()).with_split(split);
        let _: Result<Vec<_>, _> = files.documents().collect();
        let lenient = files.with_skipped(SkippedLines::new());
        let documents: Vec<_> = lenient.documents().filter_map(Result::ok).collect();
        documents.iter().for_each(check);
    }
}
