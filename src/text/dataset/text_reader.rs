//! Reading of files as UTF-8.

use std::{
    fs::File,
    io::{self, BufReader, Chain, Cursor, Read},
    path::Path,
};

use crate::text::TextError;

/// A file positioned after its byte-order mark.
pub(super) type TextReader = BufReader<Chain<Cursor<Vec<u8>>, File>>;

const UTF_8_MARK: &[u8] = &[0xEF, 0xBB, 0xBF];

/// Opens a text file and skips a byte-order mark of UTF-8.
///
/// # Errors
///
/// If the file cannot be opened, or begins as text in UTF-16 or UTF-32.
pub(super) fn open(path: &Path) -> Result<TextReader, TextError> {
    let mut file = File::open(path).map_err(TextError::io(path))?;
    let mut start = Vec::new();
    // A pipe may return fewer bytes at once than requested.
    let read = (&mut file).take(4).read_to_end(&mut start);
    read.map_err(TextError::io(path))?;
    if let Some(found) = other_encoding(&start) {
        return Err(TextError::file(path, "text in UTF-8", found));
    }
    if start.starts_with(UTF_8_MARK) {
        start.drain(..UTF_8_MARK.len());
    }
    Ok(BufReader::new(Cursor::new(start).chain(file)))
}

/// Returns the text of a whole file, without its byte-order mark.
///
/// # Errors
///
/// If the file cannot be read, is not UTF-8, or has only white space.
pub fn read_text(path: impl AsRef<Path>) -> Result<String, TextError> {
    let path = path.as_ref();
    let mut text = String::new();
    match open(path)?.read_to_string(&mut text) {
        Ok(_) if text.trim().is_empty() => Err(empty(path, "text", !text.is_empty())),
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(TextError::file(path, "text in UTF-8", "other bytes"))
        }
        Err(error) => Err(TextError::io(path)(error)),
    }
}

/// Error of a file that is empty or has only white space.
pub(super) fn empty(path: &Path, expected: &str, blank: bool) -> TextError {
    let found = match blank {
        true => "a blank file",
        false => "an empty file",
    };
    TextError::file(path, expected, found)
}

/// Returns the number of line ends in a part of a file.
pub(super) fn ends_of_lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}

/// Returns the encoding that the first bytes of a file show, if it is not UTF-8.
fn other_encoding(start: &[u8]) -> Option<&'static str> {
    match *start {
        [0xFF, 0xFE, 0, 0] | [0, 0, 0xFE, 0xFF] => Some("text in UTF-32"),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => Some("text in UTF-16"),
        // Latin letters without a byte-order mark.
        [a, 0, b, 0] | [0, a, 0, b] if a > 0 && b > 0 => Some("text in UTF-16"),
        _ => None,
    }
}
