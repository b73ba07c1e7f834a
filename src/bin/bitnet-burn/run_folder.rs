//! Folder of a run.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bitnet_burn::train::checkpoint::CheckpointFolder;

use crate::error::Failure;

/// Files of a run. Checkpoints are removed first: without them nothing can be resumed.
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

/// Path of the settings of a run.
pub fn config(out: &Path) -> PathBuf {
    out.join("config.toml")
}

/// Path of the trained model.
pub fn model(out: &Path) -> PathBuf {
    out.join("model")
}

/// Returns the step after which a resumed run continues.
pub fn last_step(out: &Path) -> Result<usize, Failure> {
    let path = out.join("checkpoints");
    let newest = CheckpointFolder::new(&path).newest()?;
    let manifest = newest.manifest.ok_or_else(|| {
        Failure::failed(format!(
            "{}: expected a complete checkpoint to resume from, found none: start without --resume",
            path.display()
        ))
    })?;
    Ok(manifest.position.step)
}

/// Prepares the folder for a new run.
pub fn begin(out: &Path, overwrite: bool) -> Result<(), Failure> {
    let present = FILES.iter().map(|name| out.join(name));
    let present: Vec<PathBuf> = present.filter(|path| path.exists()).collect();
    if let (Some(path), false) = (present.first(), overwrite) {
        return Err(Failure::failed(format!(
            "{} belongs to an earlier run: continue it with --resume, replace it with --overwrite, or \
             choose another folder with --out",
            path.display()
        )));
    }
    for path in present {
        clear(&path).map_err(Failure::io(&path))?;
    }
    fs::create_dir_all(out).map_err(Failure::io(out))
}

/// Removes a file or a folder. Links, pipes and devices belong to the user and stay; a folder that a link
/// points to is emptied.
fn clear(path: &Path) -> io::Result<()> {
    let file_type = fs::symlink_metadata(path)?.file_type();
    if file_type.is_symlink() && path.is_dir() {
        let folder = fs::canonicalize(path)?;
        fs::remove_dir_all(&folder)?;
        return fs::create_dir(folder);
    }
    match (file_type.is_dir(), file_type.is_file()) {
        (true, _) => fs::remove_dir_all(path),
        (_, true) => fs::remove_file(path),
        _ => Ok(()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn an_earlier_run_goes_and_links_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (out, disk) = (folder.path().join("run"), folder.path().join("disk"));
        fs::create_dir_all(out.join("model")).unwrap();
        fs::create_dir_all(disk.join("step-00000001")).unwrap();
        fs::write(out.join("config.toml"), "old").unwrap();
        symlink(&disk, out.join("checkpoints")).unwrap();
        symlink("/dev/null", out.join("log.jsonl")).unwrap();
        begin(&out, true).unwrap();
        assert!(out.join("checkpoints").is_symlink());
        assert!(out.join("log.jsonl").is_symlink());
        assert_eq!(fs::read_dir(disk).unwrap().count(), 0);
        assert!(!out.join("model").exists() && !out.join("config.toml").exists());
    }
}
