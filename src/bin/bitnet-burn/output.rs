//! Results on stdout, messages on stderr.

use std::io::{IsTerminal, Write};

use serde_json::Value;

use crate::error::Failure;

/// Format of results and progress.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// `true` if results are JSON.
    pub json: bool,
    /// `true` if only errors are written to stderr.
    pub quiet: bool,
}

impl Output {
    /// Prints the result of a command, as a JSON document or as text.
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

    /// Prints an event of a training, as a line of JSON or as text.
    pub fn event(self, json: &Value, text: &str) -> Result<(), Failure> {
        match self.json {
            true => self.line(&json.to_string()),
            false => self.line(text),
        }
    }

    /// Prints a line to stdout. A closed pipe, such as that of `head`, is not an error.
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

    /// Prints a line to stderr.
    pub fn note(self, line: impl AsRef<str>) {
        if !self.quiet {
            eprintln!("{}", line.as_ref());
        }
    }

    /// Returns whether progress is shown as a bar.
    pub fn has_bars(self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }
}

/// Formats a number of bytes with a unit.
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
