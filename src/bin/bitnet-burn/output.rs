//! Results on stdout, and everything else on stderr.

use std::io::{IsTerminal, Write};

use serde_json::Value;

use crate::error::Failure;

/// How results and progress are shown.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// Results as JSON.
    pub json: bool,
    /// Nothing but errors on stderr.
    pub quiet: bool,
}

impl Output {
    /// The result of a command, as a document of JSON or as a text.
    pub fn result(
        self,
        json: impl FnOnce() -> Value,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self.json {
            true => self.line(&format!("{:#}", json())),
            false => self.line(text().trim_end()),
        }
    }

    /// A line on stdout. A reader that has gone away, such as `head`, is no failure.
    pub fn line(self, line: &str) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        let written = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
        match written {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(
                format!("stdout cannot be written: {error}"),
            )),
            _ => Ok(()),
        }
    }

    /// A line on stderr.
    pub fn note(self, line: impl AsRef<str>) {
        if !self.quiet {
            eprintln!("{}", line.as_ref());
        }
    }

    /// Whether progress is a bar.
    pub fn has_bars(self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }
}

/// Bytes as people read them.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} bytes");
    }
    let mut value = count as f64;
    let mut unit = "bytes";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}
