//! Records of a file: one per line, or a list.

use std::{
    io::{self, BufRead},
    path::{Path, PathBuf},
};

use super::{
    files::FileText,
    lines::Lines,
    text_reader::{self, TextReader, ends_of_lines},
};
use crate::text::TextError;

/// JSON texts, each with the number of its first line.
pub(super) enum Records {
    Lines(Lines),
    List(List),
}

impl Records {
    /// Checks whether the file begins with `[`.
    pub fn open(path: &Path) -> Result<Self, TextError> {
        let mut reader = text_reader::open(path)?;
        let lines = pass_over_space(&mut reader).map_err(TextError::io(path))?;
        if !reader
            .fill_buf()
            .map_err(TextError::io(path))?
            .starts_with(b"[")
        {
            return Ok(Self::Lines(Lines::new(path, reader, lines)));
        }
        reader.consume(1);
        Ok(Self::List(List {
            path: path.to_path_buf(),
            reader: Some(reader),
            line: lines + 1,
            items: 0,
        }))
    }
}

impl Iterator for Records {
    type Item = Result<FileText, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Lines(lines) => {
                lines.find(|line| !matches!(line, Ok(line) if line.text.trim().is_empty()))
            }
            Self::List(list) => list.read().transpose(),
        }
    }
}

/// Skips white space and returns the number of line ends in it.
fn pass_over_space(reader: &mut TextReader) -> io::Result<usize> {
    let mut lines = 0;
    loop {
        let buffer = reader.fill_buf()?;
        let space = buffer.len() - buffer.trim_ascii_start().len();
        lines += ends_of_lines(&buffer[..space]);
        let goes_on = space > 0 && space == buffer.len();
        reader.consume(space);
        if !goes_on {
            return Ok(lines);
        }
    }
}

/// Items of a list, read one at a time: the file may be larger than memory.
pub(super) struct List {
    path: PathBuf,
    reader: Option<TextReader>,
    /// Current line, from 1.
    line: usize,
    items: usize,
}

/// Delimiter that ends an item.
#[derive(PartialEq)]
enum End {
    Comma,
    List,
    File,
}

/// Lexical state at a byte of an item.
#[derive(Default)]
struct Place {
    depth: usize,
    in_text: bool,
    escaped: bool,
}

impl Place {
    /// Returns whether the next byte ends the item.
    fn end(&mut self, byte: u8) -> Option<End> {
        let escaped = std::mem::take(&mut self.escaped);
        match byte {
            _ if escaped => {}
            b'\\' if self.in_text => self.escaped = true,
            b'"' => self.in_text = !self.in_text,
            _ if self.in_text => {}
            b',' if self.depth == 0 => return Some(End::Comma),
            b']' if self.depth == 0 => return Some(End::List),
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        None
    }
}

impl List {
    fn read(&mut self) -> Result<Option<FileText>, TextError> {
        let Some(mut reader) = self.reader.take() else {
            return Ok(None);
        };
        self.line += pass_over_space(&mut reader).map_err(TextError::io(&self.path))?;
        let line = self.line;
        let (bytes, end) = self.item(&mut reader).map_err(TextError::io(&self.path))?;
        match end {
            End::Comma => self.reader = Some(reader),
            End::List => {
                self.line += pass_over_space(&mut reader).map_err(TextError::io(&self.path))?;
                let rest = reader.fill_buf().map_err(TextError::io(&self.path))?;
                if !rest.is_empty() {
                    return Err(self.wrong("the end of the file behind the list", "more"));
                }
                if bytes.is_empty() && self.items == 0 {
                    return Ok(None);
                }
            }
            End::File => return Err(self.wrong("`]`, the end of the list", "the end of the file")),
        }
        self.items += 1;
        let text = String::from_utf8(bytes)
            .map_err(|error| TextError::not_utf8(&self.path, line, error.utf8_error()))?;
        Ok(Some(FileText {
            line,
            text,
            ends: true,
        }))
    }

    /// Reads the bytes up to the comma or bracket that ends an item.
    fn item(&mut self, reader: &mut TextReader) -> io::Result<(Vec<u8>, End)> {
        let (mut item, mut place) = (Vec::new(), Place::default());
        loop {
            let buffer = reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok((item, End::File));
            }
            for (i, &byte) in buffer.iter().enumerate() {
                self.line += usize::from(byte == b'\n');
                if let Some(end) = place.end(byte) {
                    reader.consume(i + 1);
                    item.truncate(item.trim_ascii_end().len());
                    return Ok((item, end));
                }
                item.push(byte);
            }
            let read = buffer.len();
            reader.consume(read);
        }
    }

    /// Error of the whole list; nothing after it can be read.
    fn wrong(&self, expected: &str, found: &str) -> TextError {
        TextError::file(
            &self.path,
            expected,
            format!("{found} in line {}", self.line),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn records(text: &str) -> Vec<Result<(usize, String), String>> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Records::open(file.path())
            .unwrap()
            .map(|line| {
                line.map(|line| (line.line, line.text))
                    .map_err(|error| error.to_string())
            })
            .collect()
    }

    fn good(text: &str) -> Vec<(usize, String)> {
        records(text).into_iter().map(Result::unwrap).collect()
    }

    fn numbered(records: &[(usize, &str)]) -> Vec<(usize, String)> {
        records
            .iter()
            .map(|(line, text)| (*line, text.to_string()))
            .collect()
    }

    #[test]
    fn lines_and_lists_hold_the_same() {
        let lines = good("\u{feff}\n{\"a\": 1}\n  \n{\"b\": \"]\"}\r\n");
        assert_eq!(lines, numbered(&[(2, "{\"a\": 1}"), (4, "{\"b\": \"]\"}")]));
        let list = good("\n [{\"a\": [1, {}]},\n\n  {\"b\":\n \"],\\\"}\"} ]\n\n");
        assert_eq!(
            list,
            numbered(&[(2, "{\"a\": [1, {}]}"), (4, "{\"b\":\n \"],\\\"}\"}")])
        );
        assert_eq!(good("[1,2]"), numbered(&[(1, "1"), (1, "2")]));
        assert!(good(" [ ] ").is_empty());
        assert!(good("").is_empty());
    }

    #[test]
    fn a_list_that_is_cut_or_goes_on_is_an_error() {
        let cut = records("[{\"a\": 1},\n{\"b\"");
        assert_eq!(cut.len(), 2);
        let error = cut[1].as_ref().unwrap_err();
        assert!(
            error.ends_with("found the end of the file in line 2"),
            "{error}"
        );
        let more = records("[1]\n[2]");
        let error = more[0].as_ref().unwrap_err();
        assert!(
            error.ends_with("behind the list, found more in line 2"),
            "{error}"
        );
        assert_eq!(more.len(), 1);
        // An extra comma leaves an empty item, which is not JSON.
        assert_eq!(good("[1,]"), numbered(&[(1, "1"), (1, "")]));
    }
}
