use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Document, DocumentSource, Documents, JsonRecord, MalformedLines,
    json_record::RecordError,
    lines::{Line, at_line},
    records::Records,
    text_reader,
};
use crate::text::{TextError, Tokenizer};

/// Documents of files with one JSON object per line, or with one list of objects.
///
/// Empty lines and a byte-order mark are skipped; a file without any record is an error. File names
/// are not checked; [`FileKind`](super::FileKind) recognizes this kind by name.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use bitnet_burn::text::{
///     Tokenizer,
///     dataset::{DocumentSource, JsonLines, JsonRecord, MalformedLines, SkippedLines},
/// };
///
/// let path = std::env::temp_dir().join(format!("json_lines_{}", std::process::id()));
/// std::fs::write(&path, "{\"prompt\": \"2+2=\", \"completion\": \"4\"}\nno JSON\n")?;
/// let tokenizer = Arc::new(Tokenizer::characters("0123456789+=")?);
/// let skipped = SkippedLines::new();
/// let lines = JsonLines::new([&path], JsonRecord::prompt_completion(), tokenizer)
///     .with_malformed(MalformedLines::Skip(skipped.clone()));
///
/// let documents: Vec<_> = lines.documents().collect::<Result<_, _>>()?;
/// assert_eq!(documents[0].mask, [false, false, false, false, true]);
/// assert_eq!(skipped.count(), 1);
/// assert!(skipped.messages()[0].contains(":2: expected a JSON object"));
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct JsonLines {
    paths: Vec<PathBuf>,
    record: JsonRecord,
    tokenizer: Arc<Tokenizer>,
    malformed: MalformedLines,
}

impl JsonLines {
    /// Creates the lines of the files, in order.
    pub fn new<P: Into<PathBuf>>(
        paths: impl IntoIterator<Item = P>,
        record: JsonRecord,
        tokenizer: Arc<Tokenizer>,
    ) -> Self {
        Self {
            paths: paths.into_iter().map(Into::into).collect(),
            record,
            tokenizer,
            malformed: MalformedLines::default(),
        }
    }

    /// Sets the handling of lines that are not such an object, or whose text the tokenizer or the chat
    /// template rejects.
    #[must_use]
    pub fn with_malformed(mut self, malformed: MalformedLines) -> Self {
        self.malformed = malformed;
        self
    }

    /// Returns the documents of one file.
    fn file(&self, path: &Path) -> Documents {
        let mut records = match Records::open(path) {
            Ok(records) => records.peekable(),
            Err(error) => return Box::new([Err(error)].into_iter()),
        };
        if records.peek().is_none() {
            return Box::new([Err(no_record(path))].into_iter());
        }
        let (path, this) = (path.to_path_buf(), self.clone());
        Box::new(records.filter_map(move |line| {
            let document = line.and_then(|line| this.document(&path, &line));
            this.malformed.filter(document)
        }))
    }

    fn document(&self, path: &Path, line: &Line) -> Result<Document, TextError> {
        let document = self.record.document(&line.text, &self.tokenizer);
        document.map_err(|error| match error {
            RecordError::Field { expected, found } => TextError::Line {
                path: path.to_path_buf(),
                line: line.number,
                expected,
                found,
            },
            RecordError::Text(error) => at_line(path, line.number, error),
        })
    }
}

/// Error of a file without any record.
fn no_record(path: &Path) -> TextError {
    match path.metadata().map_or(0, |metadata| metadata.len()) {
        0 => text_reader::empty(path, "records", false),
        _ => TextError::file(path, "records", "none"),
    }
}

impl DocumentSource for JsonLines {
    fn documents(&self) -> Documents {
        let files = self.clone();
        Box::new((0..self.paths.len()).flat_map(move |i| files.file(&files.paths[i])))
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.paths.clone()
    }

    fn why_masked(&self) -> &str {
        self.record.why_masked()
    }
}
