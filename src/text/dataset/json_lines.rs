use std::{path::PathBuf, sync::Arc};

use super::{DocumentSource, Documents, JsonRecord, SkippedLines, files::Files};
use crate::text::Tokenizer;

/// Documents of files with one JSON object per line, or with one list of objects.
///
/// Empty lines and a byte-order mark are skipped; a file without any record is an error. File names
/// are not checked.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use bitnet_burn::text::{
///     Tokenizer,
///     dataset::{DocumentSource, JsonLines, JsonRecord, SkippedLines},
/// };
///
/// let path = std::env::temp_dir().join(format!("json_lines_{}", std::process::id()));
/// std::fs::write(&path, "{\"prompt\": \"2+2=\", \"completion\": \"4\"}\nno JSON\n")?;
/// let tokenizer = Arc::new(Tokenizer::characters("0123456789+=")?);
/// let skipped = SkippedLines::new();
/// let lines = JsonLines::new([&path], JsonRecord::prompt_completion(), tokenizer)
///     .with_skipped(skipped.clone());
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
pub struct JsonLines(Files<JsonRecord>);

impl JsonLines {
    /// Creates the lines of the files, in order.
    pub fn new<P: Into<PathBuf>>(
        paths: impl IntoIterator<Item = P>,
        record: JsonRecord,
        tokenizer: Arc<Tokenizer>,
    ) -> Self {
        Self(Files::new(paths, record, tokenizer))
    }

    /// Skips lines that are not such an object, or whose text the tokenizer or the chat template rejects, into a
    /// list. They are an error by default, as an unreadable file always is.
    #[must_use]
    pub fn with_skipped(mut self, skipped: SkippedLines) -> Self {
        self.0.skipped = Some(skipped);
        self
    }
}

impl DocumentSource for JsonLines {
    fn documents(&self) -> Documents {
        self.0.documents()
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.0.paths.clone()
    }

    fn why_masked(&self) -> &str {
        self.0.format.why_masked()
    }
}
