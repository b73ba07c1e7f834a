use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crate::text::TextError;

/// Messages that are kept; the lines behind are counted alone.
const MAX_MESSAGES: usize = 100;

/// What happens at a line that is not what it should be.
#[derive(Debug, Clone, Default)]
pub enum MalformedLines {
    /// The error comes out of the stream, and ends a training.
    #[default]
    Fail,
    /// The line is left out and reported. A file that cannot be read at all is still an error.
    Skip(SkippedLines),
}

/// The lines that were left out. Clones count together, so that one can be kept to ask.
///
/// A line is counted each time that it is read: once in each pass.
#[derive(Clone, Default)]
pub struct SkippedLines {
    lines: Arc<Mutex<Lines>>,
    report: Option<Arc<Report>>,
}

type Report = dyn Fn(&TextError) + Send + Sync;

#[derive(Default)]
struct Lines {
    count: usize,
    messages: Vec<String>,
}

impl SkippedLines {
    /// No line yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// No line yet; `report` is called with each, for a log.
    pub fn reporting(report: impl Fn(&TextError) + Send + Sync + 'static) -> Self {
        Self {
            report: Some(Arc::new(report)),
            ..Self::default()
        }
    }

    /// Number of lines left out.
    pub fn count(&self) -> usize {
        self.with(|lines| lines.count)
    }

    /// Why the first 100 were left out, with file and line.
    pub fn messages(&self) -> Vec<String> {
        self.with(|lines| lines.messages.clone())
    }

    fn push(&self, error: &TextError) {
        self.with(|lines| {
            lines.count += 1;
            if lines.messages.len() < MAX_MESSAGES {
                lines.messages.push(error.to_string());
            }
        });
        if let Some(report) = &self.report {
            report(error);
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Lines) -> T) -> T {
        // A thread that panicked while it had the lines left nothing half done.
        f(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for SkippedLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SkippedLines")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

impl MalformedLines {
    /// Takes the errors of lines out of a stream, if they are to be skipped.
    pub(super) fn filter<T>(&self, item: Result<T, TextError>) -> Option<Result<T, TextError>> {
        match (self, item) {
            (Self::Skip(skipped), Err(error @ TextError::Line { .. })) => {
                skipped.push(&error);
                None
            }
            (_, item) => Some(item),
        }
    }
}
