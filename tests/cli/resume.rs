//! Interrupted runs.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::program::{TINY, event, program, run, text};

#[test]
fn a_run_that_is_interrupted_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let steps = ["--steps", "2000", "--monitor-every", "0", "--json"];
    let mut command = program();
    command
        .arg("train")
        .arg("--out")
        .arg(&out)
        .args(TINY)
        .args(steps);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let interrupted = event(&lines, "interrupted");
    let step = interrupted["step"].as_u64().unwrap();
    assert!((1..2000).contains(&step), "{step}");
    assert!(interrupted["resume"].as_str().unwrap().contains("--resume"));
    assert!(!out.join("model").exists());

    // Only unchanged settings can be resumed.
    run(&["train", "--out", text(&out), "--resume", "--steps", "3000"])
        .failed(2, &["training.steps was 2000 and is 3000"]);
    run(&[
        "train",
        "--out",
        text(&folder.path().join("other")),
        "--resume",
    ])
    .failed(1, &["expected a complete checkpoint"]);
    let mut command = program();
    command
        .args(["train", "--resume", "--json", "--out"])
        .arg(&out);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["message"], format!("going on after step {step}"));
    child.kill().unwrap();
    child.wait().unwrap();

    // A user's folder in place of the log: it stays, and the error names it.
    let log = out.join("log.jsonl");
    fs::remove_file(&log).unwrap();
    fs::create_dir(&log).unwrap();
    let resumed = run(&["train", "--out", text(&out), "--resume"]);
    assert!(
        !resumed.stderr.contains("Dataset error"),
        "{}",
        resumed.stderr
    );
    let sentence = "log.jsonl: expected a file or nothing, found a folder";
    resumed.failed(1, &["callback `json_logger`", sentence]);
    assert!(log.is_dir());
}
