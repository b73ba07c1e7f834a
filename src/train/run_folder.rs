use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{
    RunFolderError,
    checkpoint::{CheckpointFolder, CheckpointPolicy},
    config::TrainingConfig,
};
use crate::base::atomic_file;

/// Files of a run. Checkpoints are removed first: without them nothing can be resumed.
const FILES: [&str; 9] = [
    "checkpoints",
    "model",
    "adapter",
    "tokenizer",
    "metrics",
    "config.toml",
    "log.jsonl",
    "errors.jsonl",
    "report.html",
];

/// Folder of a training: its settings, checkpoints, logs and the trained model.
///
/// # Example
///
/// ```no_run
/// use bitnet_burn::train::{RunFolder, config::TrainingConfig};
///
/// let run = RunFolder::new("run");
/// let mut config = TrainingConfig::from_toml("training = { steps = 300, epochs = 3 }")?;
/// run.configure(&mut config);
/// run.begin(&config.to_toml())?;
/// // Train, and save the model in `run.model()`.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// Creates a handle of the folder at a path, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Returns the path of the settings that [`begin`](Self::begin) writes, a file in TOML.
    pub fn settings(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// Returns the path of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// Returns the path for the trained model.
    pub fn model(&self) -> PathBuf {
        self.0.join("model")
    }

    /// Returns the path for the trained adapter.
    pub fn adapter(&self) -> PathBuf {
        self.0.join("adapter")
    }

    /// Returns the path for the tokenizer, if it was made for the run.
    pub fn tokenizer(&self) -> PathBuf {
        self.0.join("tokenizer")
    }

    /// Returns the path for burn-train's metric files.
    pub fn metrics(&self) -> PathBuf {
        self.0.join("metrics")
    }

    /// Places the checkpoints, the log, and the pages of measured errors in the folder. A configuration without
    /// checkpoints gets one every 100 steps.
    pub fn configure(&self, config: &mut TrainingConfig) {
        let folder = self.checkpoints();
        match &mut config.checkpoints {
            Some(policy) => policy.folder = folder,
            none => *none = Some(CheckpointPolicy::new(folder).every_steps(100)),
        }
        config.monitoring.log_file = Some(self.0.join("log.jsonl"));
        if let Some(errors) = &mut config.monitoring.errors {
            errors.json_file = Some(self.0.join("errors.jsonl"));
            errors.html_file = Some(self.0.join("report.html"));
        }
    }

    /// Creates the folder of a new run, with its settings.
    ///
    /// # Errors
    ///
    /// If there is an earlier run, or the folder or the file cannot be written.
    pub fn begin(&self, settings: &str) -> Result<(), RunFolderError> {
        match self.present().next() {
            Some(path) => Err(RunFolderError::InUse { path }),
            None => self.create(settings),
        }
    }

    /// Removes an earlier run, then [begins](Self::begin) a new one. Links, pipes and devices belong to the user
    /// and stay; a folder that a link points to is emptied.
    ///
    /// # Errors
    ///
    /// If a file cannot be removed, or the folder or the file cannot be written.
    pub fn overwrite(&self, settings: &str) -> Result<(), RunFolderError> {
        for path in self.present() {
            remove(&path).map_err(RunFolderError::io(&path))?;
        }
        self.create(settings)
    }

    /// Returns the step after which a resumed run continues.
    ///
    /// # Errors
    ///
    /// If no checkpoint is complete, or the folder cannot be read.
    pub fn resume(&self) -> Result<usize, RunFolderError> {
        let path = self.checkpoints();
        match CheckpointFolder::new(&path).newest()?.manifest {
            Some(manifest) => Ok(manifest.position.step),
            None => Err(RunFolderError::NoCheckpoint { path }),
        }
    }

    fn create(&self, settings: &str) -> Result<(), RunFolderError> {
        fs::create_dir_all(&self.0).map_err(RunFolderError::io(&self.0))?;
        let path = self.settings();
        let written = atomic_file::write(&path, |file| file.write_all(settings.as_bytes()));
        written.map_err(RunFolderError::io(&path))
    }

    fn present(&self) -> impl Iterator<Item = PathBuf> {
        let paths = FILES.iter().map(|name| self.0.join(name));
        paths.filter(|path| path.exists())
    }
}

fn remove(path: &Path) -> io::Result<()> {
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
