//! Runs of the program in a process.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// Sizes that train in a second in a debug build.
pub const TINY: [&str; 14] = [
    "--d-model",
    "32",
    "--d-ff",
    "64",
    "--layers",
    "1",
    "--heads",
    "2",
    "--context",
    "16",
    "--batch",
    "2",
    "--log-every",
    "2",
];

pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_bitnet-burn"))
}

/// Output of the program, and its exit code.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// Asserts that the program failed with this exit code and an error that contains these parts.
    pub fn failed(self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "no {part:?} in: {}",
                self.stderr
            );
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        assert_eq!(self.stdout, "");
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }

    pub fn json_lines(&self) -> Vec<Value> {
        let line = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.stdout.lines().map(line).collect()
    }
}

pub fn run(arguments: &[&str]) -> Ran {
    program().args(arguments).output().unwrap().into()
}

pub fn train(out: &Path, more: &[&str]) -> Ran {
    let mut command = program();
    command.arg("train").arg("--out").arg(out).args(TINY);
    command.args(more).output().unwrap().into()
}

/// Trains a model for a few steps; returns it with its folder.
pub fn trained() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    train(&out, &["--steps", "4"]).succeeded();
    let model = out.join("model");
    (folder, model)
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Returns the last event of a kind.
pub fn event<'a>(lines: &'a [Value], kind: &str) -> &'a Value {
    let found = lines.iter().rev().find(|line| line["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {lines:?}"))
}
