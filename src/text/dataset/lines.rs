use std::{
    io::BufRead,
    path::{Path, PathBuf},
};

use super::text_reader::{self, TextReader};
use crate::text::TextError;

/// Lines of a file with their numbers.
pub(super) struct Lines {
    path: PathBuf,
    reader: Option<TextReader>,
    number: usize,
}

/// A line without its line ending.
pub(super) struct Line {
    /// Line number, from 1.
    pub number: usize,
    pub text: String,
}

impl Lines {
    pub fn open(path: &Path) -> Result<Self, TextError> {
        Ok(Self::new(path, text_reader::open(path)?, 0))
    }

    /// Creates the lines of an open file, of which `passed` lines have been read already.
    pub fn new(path: &Path, reader: TextReader, passed: usize) -> Self {
        Self {
            path: path.to_path_buf(),
            reader: Some(reader),
            number: passed,
        }
    }

    fn read(&mut self) -> Result<Option<Line>, TextError> {
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = reader.read_until(b'\n', &mut bytes);
        // A disk error would repeat forever.
        if !matches!(read, Ok(1..)) {
            self.reader = None;
        }
        if read.map_err(TextError::io(&self.path))? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match str::from_utf8(line) {
            Ok(text) => Ok(Some(Line {
                number: self.number,
                text: text.to_string(),
            })),
            Err(error) => Err(TextError::Line {
                path: self.path.clone(),
                line: self.number,
                expected: "text in UTF-8".to_string(),
                found: error.to_string(),
            }),
        }
    }
}

impl Iterator for Lines {
    type Item = Result<Line, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// Error of a tokenizer or a template at a line of a file.
pub(super) fn at_line(path: &Path, line: usize, error: TextError) -> TextError {
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
    TextError::Line {
        path: path.to_path_buf(),
        line,
        expected: expected.to_string(),
        found,
    }
}
