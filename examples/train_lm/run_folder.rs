//! Folder of a run, and the handling of an earlier run in it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bitnet_burn::train::checkpoint::{CheckpointFolder, CheckpointPolicy, Resume};
use bitnet_burn_examples::Error;
use serde_json::json;

use crate::options::Options;

/// Number of steps between checkpoints.
const STEPS_PER_CHECKPOINT: usize = 100;

/// Returns the options that a resumed run must keep, on one line.
fn fingerprint(options: &Options, train_characters: usize) -> String {
    json!({
        "precision": options.precision.name(),
        "steps": options.steps,
        "learning_rate": options.learning_rate,
        "memory": options.memory.name(),
        "progressive": options.progressive,
        "teacher": options.teacher,
        "seed": options.seed,
        "train_characters": train_characters,
    })
    .to_string()
}

/// Prepares the folder and returns the checkpoint policy.
pub fn open(options: &Options, train_characters: usize) -> Result<CheckpointPolicy, Error> {
    let folder = options.out.join("checkpoints");
    let policy = CheckpointPolicy::new(&folder)
        .every_steps(STEPS_PER_CHECKPOINT)
        .fingerprint(fingerprint(options, train_characters));
    if options.resume {
        if CheckpointFolder::new(&folder).newest()?.manifest.is_none() {
            let folder = folder.display();
            return Err(format!("no run to resume: {folder} has no complete checkpoint").into());
        }
        return Ok(policy.resume(Resume::Latest));
    }
    let aside = set_aside(&options.out);
    aside.map_err(|error| format!("cannot use {}: {error}", options.out.display()))?;
    Ok(policy)
}

/// Returns the path of the JSON lines of a run.
pub fn log_file(options: &Options) -> PathBuf {
    options.out.join("log.jsonl")
}

/// Files of a run. Checkpoints are moved first: without them nothing can be resumed.
const RUN_FILES: [&str; 5] = [
    "checkpoints",
    "log.jsonl",
    "train",
    "valid",
    "experiment.log",
];

/// Moves an earlier run in the folder out of the way of a new one.
fn set_aside(out: &Path) -> io::Result<()> {
    let present = |name: &&&str| out.join(name).exists();
    let found: Vec<_> = RUN_FILES.iter().filter(present).collect();
    if found.is_empty() {
        return Ok(());
    }
    let mut folders = (1..).map(|number| out.join(format!("earlier-{number}")));
    let folder = folders.find(|folder| !folder.exists());
    let folder = folder.expect("numbers do not end");
    fs::create_dir(&folder)?;
    for name in found {
        fs::rename(out.join(name), folder.join(name))?;
    }
    println!("the earlier run is kept in {}", folder.display());
    Ok(())
}
