use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Document, Documents, SkippedLines};
use crate::text::{TextError, Tokenizer, chat::RecordProblem};

/// A part of a file: a line, a paragraph, a record, or a piece of a document.
pub(super) struct FileText {
    /// Number of its first line, from 1.
    pub line: usize,
    pub text: String,
    /// `true` if the document ends with it.
    pub ends: bool,
}

/// Texts of a file.
pub(super) type FileTexts = Box<dyn Iterator<Item = Result<FileText, TextError>> + Send>;

/// Reader of the documents in files of one format.
pub(super) trait FileFormat: Clone + Send + Sync + 'static {
    /// Opens a file.
    fn texts(&self, path: &Path) -> Result<FileTexts, TextError>;

    /// Tokenizes a text of a file.
    fn document(&self, text: &str, tokenizer: &Tokenizer) -> Result<Document, RecordProblem>;
}

/// Files that are read in order.
#[derive(Debug, Clone)]
pub(super) struct Files<F> {
    pub paths: Vec<PathBuf>,
    pub format: F,
    tokenizer: Arc<Tokenizer>,
    /// Malformed texts that are skipped; `None` if they are errors.
    pub skipped: Option<SkippedLines>,
}

impl<F: FileFormat> Files<F> {
    pub fn new<P: Into<PathBuf>>(
        paths: impl IntoIterator<Item = P>,
        format: F,
        tokenizer: Arc<Tokenizer>,
    ) -> Self {
        Self {
            paths: paths.into_iter().map(Into::into).collect(),
            format,
            tokenizer,
            skipped: None,
        }
    }

    /// Returns the documents of all files.
    pub fn documents(&self) -> Documents {
        let files = Arc::new(self.clone());
        Box::new((0..self.paths.len()).flat_map(move |i| files.clone().documents_of(i)))
    }

    fn documents_of(self: Arc<Self>, file: usize) -> Documents {
        let texts = match self.format.texts(&self.paths[file]) {
            Ok(texts) => texts,
            Err(error) => return Box::new([Err(error)].into_iter()),
        };
        Box::new(texts.filter_map(move |text| {
            let document = text.and_then(|text| self.document(&self.paths[file], &text));
            SkippedLines::filter(self.skipped.as_ref(), document)
        }))
    }

    fn document(&self, path: &Path, text: &FileText) -> Result<Document, TextError> {
        let document = self.format.document(&text.text, &self.tokenizer);
        Ok(Document {
            ends: text.ends,
            ..document.map_err(|problem| at_line(path, text.line, problem))?
        })
    }
}

/// Error of a record, a tokenizer or a template at a line of a file.
fn at_line(path: &Path, line: usize, problem: RecordProblem) -> TextError {
    let (expected, found) = match problem {
        RecordProblem::Field { expected, found } => (expected, found),
        RecordProblem::Text(error) => {
            let (expected, found) = match error {
                TextError::UnknownCharacters { characters } => (
                    "characters that the tokenizer has tokens for",
                    format!("{characters:?}"),
                ),
                TextError::Template { reason } => ("messages that the chat template takes", reason),
                error @ TextError::NoPrefix { .. } => (
                    "messages in which the assistant's turns can be told apart",
                    error.to_string(),
                ),
                error => ("text that can be made tokens", error.to_string()),
            };
            (expected.to_string(), found)
        }
    };
    TextError::line(path, line, expected, found)
}
