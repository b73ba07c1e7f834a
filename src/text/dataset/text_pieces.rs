use std::{
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    files::FileText,
    text_reader::{self, TextReader, ends_of_lines},
};
use crate::text::TextError;

/// Bytes of a piece; tests use fewer.
pub(super) const PIECE_BYTES: usize = 1 << 20;

/// Iterator over a file in pieces that end at a line end where there is one, so that a file larger than
/// memory can be one document.
pub(super) struct TextPieces {
    path: PathBuf,
    file: Option<TextReader>,
    piece_bytes: usize,
    /// Bytes read but not returned.
    rest: Vec<u8>,
    /// Number of lines returned.
    lines: usize,
}

impl TextPieces {
    pub fn open(path: &Path, piece_bytes: usize) -> Result<Self, TextError> {
        Ok(Self {
            path: path.to_path_buf(),
            file: Some(text_reader::open(path)?),
            piece_bytes,
            rest: Vec::new(),
            lines: 0,
        })
    }

    fn read(&mut self) -> Result<Option<FileText>, TextError> {
        self.fill()?;
        if self.rest.is_empty() {
            return Ok(None);
        }
        let ends = self.file.is_none();
        let end = match ends {
            true => self.rest.len(),
            false => piece_end(&self.rest[..self.piece_bytes]),
        };
        let after = self.rest.split_off(end);
        let bytes = std::mem::replace(&mut self.rest, after);
        let line = self.lines + 1;
        self.lines += ends_of_lines(&bytes);
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            TextError::not_utf8(&self.path, line + ends_of_lines(valid), error.utf8_error())
        })?;
        Ok(Some(FileText { line, text, ends }))
    }

    /// Reads up to the length of a piece, and one more byte that shows whether the file continues.
    fn fill(&mut self) -> Result<(), TextError> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let wanted = (self.piece_bytes + 1 - self.rest.len()) as u64;
        let read = file.by_ref().take(wanted).read_to_end(&mut self.rest);
        // A disk error would repeat forever.
        if !matches!(read, Ok(read) if read as u64 == wanted) {
            self.file = None;
        }
        read.map(|_| ()).map_err(TextError::io(&self.path))
    }
}

/// Returns the end of a piece: after its last line, or in a file of one line after its last complete
/// character.
fn piece_end(bytes: &[u8]) -> usize {
    if let Some(end) = bytes.iter().rposition(|&byte| byte == b'\n') {
        return end + 1;
    }
    match str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => bytes.len(),
    }
}

impl Iterator for TextPieces {
    type Item = Result<FileText, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    fn pieces(bytes: &[u8], size: usize) -> Vec<Result<FileText, TextError>> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        TextPieces::open(file.path(), size).unwrap().collect()
    }

    #[test]
    fn pieces_end_with_lines_and_make_up_the_file() {
        let text = "one\ntwo\nthree and more\nend";
        let pieces: Vec<_> = (pieces(text.as_bytes(), 10).into_iter())
            .map(Result::unwrap)
            .collect();
        let texts: Vec<&str> = pieces.iter().map(|piece| &*piece.text).collect();
        assert_eq!(texts, ["one\ntwo\n", "three and ", "more\nend"]);
        let lines: Vec<usize> = pieces.iter().map(|piece| piece.line).collect();
        assert_eq!(lines, [1, 3, 3]);
        let last: Vec<bool> = pieces.iter().map(|piece| piece.ends).collect();
        assert_eq!(last, [false, false, true]);
    }

    #[test]
    fn characters_stay_whole() {
        let text = "é€é€é€";
        for size in 4..12 {
            let joined: String = (pieces(text.as_bytes(), size).into_iter())
                .map(|piece| piece.unwrap().text)
                .collect();
            assert_eq!(joined, text);
        }
    }

    #[test]
    fn what_is_no_text_has_a_line() {
        let error = pieces(b"good\nb\xffd\n", 100).remove(0).err().unwrap();
        assert!(
            error.to_string().contains(":2: expected text in UTF-8"),
            "{error}"
        );
    }

    #[test]
    fn an_empty_file_has_no_piece() {
        assert!(pieces(b"", 10).is_empty());
        let missing = fs::canonicalize("/").unwrap().join("no such file");
        assert!(TextPieces::open(&missing, 10).is_err());
    }
}
