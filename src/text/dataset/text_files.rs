use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Document, DocumentSource, Documents, SkippedLines,
    files::{FileFormat, FileText, FileTexts, Files},
    lines::Lines,
    text_pieces::{PIECE_BYTES, TextPieces},
    text_reader,
};
use crate::text::{TextError, Tokenizer, chat::RecordProblem};

/// Unit of a text file that becomes a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DocumentSplit {
    /// The whole file, unchanged. Files above 1 MiB are read in pieces that end at a line, so that no
    /// token crosses the end of a piece.
    #[default]
    File,
    /// Each non-empty line, without its line ending.
    Line,
    /// Lines up to an empty one, without the line ending of the last.
    Paragraph,
}

/// Documents of plain text files in UTF-8. A byte-order mark is skipped; a file with only white space
/// is an error. Only the current document is in memory.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use bitnet_burn::text::{
///     Tokenizer,
///     dataset::{DocumentSource, DocumentSplit, TextFiles},
/// };
///
/// let path = std::env::temp_dir().join(format!("text_files_{}", std::process::id()));
/// std::fs::write(&path, "one\ntwo\n\nthree\n")?;
/// let tokenizer = Arc::new(Tokenizer::characters("one\ntwo three")?);
/// let files = TextFiles::new([&path], tokenizer.clone()).with_split(DocumentSplit::Paragraph);
/// let first = files.documents().next().unwrap()?;
/// assert_eq!(tokenizer.decode(&first.tokens)?, "one\ntwo");
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TextFiles(Files<DocumentSplit>);

impl TextFiles {
    /// Reads files in order; each file is a document.
    pub fn new<P: Into<PathBuf>>(
        paths: impl IntoIterator<Item = P>,
        tokenizer: Arc<Tokenizer>,
    ) -> Self {
        Self(Files::new(paths, DocumentSplit::default(), tokenizer))
    }

    /// Sets the unit that becomes a document.
    #[must_use]
    pub fn with_split(mut self, split: DocumentSplit) -> Self {
        self.0.format = split;
        self
    }

    /// Skips text that is not UTF-8 or has characters without tokens, into a list. It is an error by default,
    /// as an unreadable file always is.
    #[must_use]
    pub fn with_skipped(mut self, skipped: SkippedLines) -> Self {
        self.0.skipped = Some(skipped);
        self
    }
}

impl DocumentSource for TextFiles {
    fn documents(&self) -> Documents {
        self.0.documents()
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.0.paths.clone()
    }
}

impl FileFormat for DocumentSplit {
    fn texts(&self, path: &Path) -> Result<FileTexts, TextError> {
        let texts: FileTexts = match self {
            Self::File => Box::new(TextPieces::open(path, PIECE_BYTES)?),
            Self::Line => Box::new(Lines::open(path)?.filter(|line| !is_empty(line))),
            Self::Paragraph => Box::new(Paragraphs(Lines::open(path)?)),
        };
        Ok(Box::new(NotBlank::new(path, texts)))
    }

    fn document(&self, text: &str, tokenizer: &Tokenizer) -> Result<Document, RecordProblem> {
        Ok(Document::new(tokenizer.encode(text)?))
    }
}

/// Texts of a file, followed by an error if there was none.
struct NotBlank {
    path: PathBuf,
    texts: Option<FileTexts>,
    any: bool,
    blank: bool,
}

impl NotBlank {
    fn new(path: &Path, texts: FileTexts) -> Self {
        Self {
            path: path.to_path_buf(),
            texts: Some(texts),
            any: false,
            blank: true,
        }
    }
}

impl Iterator for NotBlank {
    type Item = Result<FileText, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.texts.as_mut()?.next();
        match &next {
            Some(text) => {
                self.any = true;
                self.blank &= matches!(text, Ok(text) if text.text.trim().is_empty());
                next
            }
            None => {
                self.texts = None;
                self.blank
                    .then(|| Err(text_reader::empty(&self.path, "text", self.any)))
            }
        }
    }
}

fn is_empty(line: &Result<FileText, TextError>) -> bool {
    matches!(line, Ok(line) if line.text.is_empty())
}

/// Lines up to an empty one.
struct Paragraphs(Lines);

impl Paragraphs {
    /// Skips the rest of a paragraph with a malformed line.
    fn pass_over(&mut self) {
        self.0.find(is_empty);
    }
}

impl Iterator for Paragraphs {
    type Item = Result<FileText, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut paragraph: Option<FileText> = None;
        for line in &mut self.0 {
            let line = match line {
                Ok(line) => line,
                Err(error) => {
                    self.pass_over();
                    return Some(Err(error));
                }
            };
            match &mut paragraph {
                Some(_) if line.text.is_empty() => break,
                Some(paragraph) => {
                    paragraph.text.push('\n');
                    paragraph.text.push_str(&line.text);
                }
                None if line.text.is_empty() => {}
                None => paragraph = Some(line),
            }
        }
        paragraph.map(Ok)
    }
}
