//! What a run is, and where a broken one can go on.

use std::{fmt, fs, io, path::Path};

use burn::store::ModuleRecord;
use serde_json::json;

use crate::options::Options;

/// Why a run cannot be resumed, or its folder not be used.
#[derive(Debug)]
pub enum CheckpointError {
    Io(String, io::Error),
    NoRun(String),
    OtherRun { expected: String, found: String },
    NoCheckpoint(String),
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "cannot use {path}: {error}"),
            Self::NoRun(path) => write!(f, "there is no run to resume: {path} is missing"),
            Self::OtherRun { expected, found } => write!(
                f,
                "the folder holds another run: asked for {expected}, found {found}"
            ),
            Self::NoCheckpoint(path) => write!(
                f,
                "there is no complete checkpoint in {path}: start again without --resume"
            ),
        }
    }
}

impl std::error::Error for CheckpointError {}

/// The options that must stay the same for a run to go on, on one line.
fn description(options: &Options, train_characters: usize) -> String {
    json!({
        "precision": options.precision.name(),
        "steps": options.steps,
        "learning_rate": options.learning_rate,
        "seed": options.seed,
        "train_characters": train_characters,
    })
    .to_string()
}

/// Prepares the folder: writes what the run is, or checks it before it goes on.
pub fn open_run(options: &Options, train_characters: usize) -> Result<(), CheckpointError> {
    let path = options.out.join("run.json");
    let name = path.display().to_string();
    let expected = description(options, train_characters);
    if options.resume {
        let found = fs::read_to_string(&path).map_err(|_| CheckpointError::NoRun(name))?;
        return match found.trim() == expected {
            true => Ok(()),
            false => Err(CheckpointError::OtherRun { expected, found }),
        };
    }
    let io = |error| CheckpointError::Io(name.clone(), error);
    fs::create_dir_all(&options.out).map_err(io)?;
    set_aside(&options.out).map_err(io)?;
    let temporary = options.out.join("run.json.tmp");
    fs::write(&temporary, expected).map_err(io)?;
    fs::rename(&temporary, &path).map_err(io)
}

/// What a run writes into its folder. `run.json` goes first: without it nothing can resume.
const RUN_FILES: [&str; 5] = ["run.json", "checkpoint", "train", "valid", "experiment.log"];

/// Moves an earlier run in the folder out of the way of a new one, whose `--resume` must not find
/// checkpoints of another run.
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

/// The last epoch whose checkpoint is complete and readable.
pub fn last_epoch(out: &Path) -> Result<usize, CheckpointError> {
    let folder = out.join("checkpoint");
    let name = folder.display().to_string();
    let entries = fs::read_dir(&folder).map_err(|_| CheckpointError::NoCheckpoint(name.clone()))?;
    let mut epochs: Vec<usize> = entries
        .filter_map(|entry| epoch_of(&entry.ok()?.file_name().to_string_lossy()))
        .collect();
    epochs.sort_unstable();
    epochs
        .into_iter()
        .rev()
        .find(|&epoch| is_complete(&folder, epoch))
        .ok_or(CheckpointError::NoCheckpoint(name))
}

fn epoch_of(file_name: &str) -> Option<usize> {
    let number = file_name.strip_prefix("model-")?.strip_suffix(".bpk")?;
    number.parse().ok()
}

/// Whether all three files are there, and none was cut off while it was written.
fn is_complete(folder: &Path, epoch: usize) -> bool {
    let complete = ["model", "optim", "scheduler"]
        .map(|name| folder.join(format!("{name}-{epoch}.bpk")))
        .iter()
        .all(|path| ModuleRecord::load(path).is_ok());
    if !complete {
        println!("checkpoint {epoch} is incomplete, looking for an older one");
    }
    complete
}
