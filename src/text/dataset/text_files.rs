use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Document, DocumentSource, Documents, MalformedLines,
    lines::{Line, Lines, at_line},
    text_pieces::{PIECE_BYTES, TextPieces},
    text_reader,
};
use crate::text::{TextError, Tokenizer};

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
pub struct TextFiles {
    paths: Vec<PathBuf>,
    tokenizer: Arc<Tokenizer>,
    split: DocumentSplit,
    malformed: MalformedLines,
}

impl TextFiles {
    /// Reads files in order; each file is a document.
    pub fn new<P: Into<PathBuf>>(
        paths: impl IntoIterator<Item = P>,
        tokenizer: Arc<Tokenizer>,
    ) -> Self {
        Self {
            paths: paths.into_iter().map(Into::into).collect(),
            tokenizer,
            split: DocumentSplit::default(),
            malformed: MalformedLines::default(),
        }
    }

    /// Sets the unit that becomes a document.
    #[must_use]
    pub fn with_split(mut self, split: DocumentSplit) -> Self {
        self.split = split;
        self
    }

    /// Sets the handling of text that is not UTF-8 or has characters without tokens.
    #[must_use]
    pub fn with_malformed(mut self, malformed: MalformedLines) -> Self {
        self.malformed = malformed;
        self
    }

    /// Returns the documents of one file.
    fn file(&self, path: &Path) -> Documents {
        let texts = match self.texts(path) {
            Ok(texts) => NotBlank::new(path, texts),
            Err(error) => return Box::new([Err(error)].into_iter()),
        };
        let (path, tokenizer) = (path.to_path_buf(), self.tokenizer.clone());
        let malformed = self.malformed.clone();
        Box::new(texts.filter_map(move |text| {
            let document = text.and_then(|(line, text, ends)| {
                let tokens = tokenizer.encode(&text);
                let tokens = tokens.map_err(|error| at_line(&path, line, error))?;
                let whole = Document::new(tokens);
                Ok(Document { ends, ..whole })
            });
            malformed.filter(document)
        }))
    }

    fn texts(&self, path: &Path) -> Result<Texts, TextError> {
        Ok(match self.split {
            DocumentSplit::File => {
                let pieces = TextPieces::open(path, PIECE_BYTES)?;
                Box::new(pieces.map(|piece| piece.map(|p| (p.line, p.text, p.last))))
            }
            DocumentSplit::Line => Box::new(whole_lines(Lines::open(path)?)),
            DocumentSplit::Paragraph => Box::new(Paragraphs(Lines::open(path)?)),
        })
    }
}

impl DocumentSource for TextFiles {
    fn documents(&self) -> Documents {
        let files = self.clone();
        Box::new((0..self.paths.len()).flat_map(move |i| files.file(&files.paths[i])))
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.paths.clone()
    }
}

/// Number of the first line, text, and whether the document ends with it.
type Text = Result<(usize, String, bool), TextError>;
type Texts = Box<dyn Iterator<Item = Text> + Send>;

/// Texts of a file, followed by an error if there was none.
struct NotBlank {
    path: PathBuf,
    texts: Option<Texts>,
    any: bool,
    blank: bool,
}

impl NotBlank {
    fn new(path: &Path, texts: Texts) -> Self {
        Self {
            path: path.to_path_buf(),
            texts: Some(texts),
            any: false,
            blank: true,
        }
    }
}

impl Iterator for NotBlank {
    type Item = Text;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.texts.as_mut()?.next();
        match &next {
            Some(text) => {
                self.any = true;
                self.blank &= matches!(text, Ok((_, text, _)) if text.trim().is_empty());
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

fn whole_lines(lines: Lines) -> impl Iterator<Item = Text> {
    lines
        .filter(|line| !matches!(line, Ok(line) if line.text.is_empty()))
        .map(|line| line.map(|line| (line.number, line.text, true)))
}

/// Lines up to an empty one.
struct Paragraphs(Lines);

impl Paragraphs {
    /// Skips the rest of a paragraph with a malformed line.
    fn pass_over(&mut self) {
        let is_end = |line: &Result<_, _>| matches!(line, Ok(Line { text, .. }) if text.is_empty());
        self.0.find(is_end);
    }
}

impl Iterator for Paragraphs {
    type Item = Text;

    fn next(&mut self) -> Option<Self::Item> {
        let mut paragraph: Option<(usize, String, bool)> = None;
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
                Some((_, text, _)) => {
                    text.push('\n');
                    text.push_str(&line.text);
                }
                None if line.text.is_empty() => {}
                None => paragraph = Some((line.number, line.text, true)),
            }
        }
        paragraph.map(Ok)
    }
}
