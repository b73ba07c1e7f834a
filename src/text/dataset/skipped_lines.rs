use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crate::text::TextError;

/// Maximum number of stored messages; further lines are only counted.
const MAX_MESSAGES: usize = 100;

/// Malformed lines that a source skips. Clones share one count, so that one can be kept for inspection.
///
/// A line is counted each time it is read: once per pass.
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
    /// Creates an empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an empty list that calls `report` with each skipped line, for logging.
    pub fn reporting(report: impl Fn(&TextError) + Send + Sync + 'static) -> Self {
        Self {
            report: Some(Arc::new(report)),
            ..Self::default()
        }
    }

    /// Number of skipped lines.
    pub fn count(&self) -> usize {
        self.with(|lines| lines.count)
    }

    /// Reasons of the first 100 skipped lines, with file and line number.
    pub fn messages(&self) -> Vec<String> {
        self.with(|lines| lines.messages.clone())
    }

    /// Takes the error of a malformed line out of a stream; `None` if it is skipped.
    pub(super) fn filter<T>(
        skipped: Option<&Self>,
        item: Result<T, TextError>,
    ) -> Option<Result<T, TextError>> {
        match (skipped, item) {
            (Some(skipped), Err(error @ TextError::Line { .. })) => {
                skipped.push(&error);
                None
            }
            (_, item) => Some(item),
        }
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
        // A thread that panicked while it held the lock left the list consistent.
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
