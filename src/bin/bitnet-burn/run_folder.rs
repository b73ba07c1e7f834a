//! The folder of a run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bitnet_burn::train::checkpoint::CheckpointFolder;

use crate::error::Failure;

/// What a run writes into its folder. The checkpoints go first: without them nothing can resume.
const FILES: [&str; 8] = [
    "checkpoints",
    "model",
    "tokenizer",
    "metrics",
    "config.toml",
    "log.jsonl",
    "errors.jsonl",
    "report.html",
];

/// The settings of a run.
pub fn config(out: &Path) -> PathBuf {
    out.join("config.toml")
}

/// The model that a run ends with.
pub fn model(out: &Path) -> PathBuf {
    out.join("model")
}

/// The step that a resumed run goes on after.
pub fn last_step(out: &Path) -> Result<usize, Failure> {
    let folder = out.join("checkpoints");
    let newest = CheckpointFolder::new(&folder).newest()?;
    let manifest = newest.manifest.ok_or_else(|| {
        Failure::failed(format!(
            "{}: expected a whole checkpoint to resume from, found none: start anew without --resume",
            folder.display()
        ))
    })?;
    Ok(manifest.position.step)
}

/// Makes the folder ready for a new run.
pub fn begin(out: &Path, overwrite: bool) -> Result<(), Failure> {
    let present = FILES.iter().map(|name| out.join(name));
    let present: Vec<PathBuf> = present.filter(|path| path.exists()).collect();
    if let (Some(path), false) = (present.first(), overwrite) {
        return Err(Failure::failed(format!(
            "{} is of an earlier run: go on with it by --resume, replace it by --overwrite, or choose \
             another folder with --out",
            path.display()
        )));
    }
    for path in present {
        let removed = match path.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        removed.map_err(Failure::io(&path))?;
    }
    fs::create_dir_all(out).map_err(Failure::io(out))
}
