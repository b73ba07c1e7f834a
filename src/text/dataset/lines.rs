use std::{
    io::BufRead,
    path::{Path, PathBuf},
};

use super::{
    files::FileText,
    text_reader::{self, TextReader},
};
use crate::text::TextError;

/// Lines of a file, without their line endings.
pub(super) struct Lines {
    path: PathBuf,
    reader: Option<TextReader>,
    number: usize,
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

    fn read(&mut self) -> Result<Option<FileText>, TextError> {
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
        let text = str::from_utf8(line)
            .map_err(|error| TextError::not_utf8(&self.path, self.number, error))?;
        Ok(Some(FileText {
            line: self.number,
            text: text.to_string(),
            ends: true,
        }))
    }
}

impl Iterator for Lines {
    type Item = Result<FileText, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}
