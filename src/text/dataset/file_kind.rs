use std::path::Path;

/// Content of the files of a data set, by file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Plain text, for [`TextFiles`](super::TextFiles): every other name.
    Text,
    /// Records, for [`JsonLines`](super::JsonLines): `.jsonl`, `.ndjson` and `.json`.
    Records,
    /// Tokens, for [`TokenFile`](super::TokenFile): `.bin`.
    Tokens,
}

impl FileKind {
    /// Returns the kind of a file; the case of the extension is ignored.
    pub fn of(path: impl AsRef<Path>) -> Self {
        let extension = path.as_ref().extension().unwrap_or_default();
        match extension.to_string_lossy().to_lowercase().as_str() {
            "jsonl" | "ndjson" | "json" => Self::Records,
            "bin" => Self::Tokens,
            _ => Self::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_tells_the_kind() {
        assert_eq!(FileKind::of("chats.JSONL"), FileKind::Records);
        assert_eq!(FileKind::of("tokens.bin"), FileKind::Tokens);
        assert_eq!(FileKind::of("book"), FileKind::Text);
    }
}
