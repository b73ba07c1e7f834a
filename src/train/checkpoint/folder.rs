use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    BestMetric, CheckpointError, CheckpointManifest, MetricValue, Records,
    files::{check, read_manifest, read_records, sync_folder, write},
};
use crate::base::file_error::FileError;

/// Prefix of names of incomplete files, or of files to be removed.
const ASIDE: &str = ".aside-";

/// Prefix of checkpoints that belong to an abandoned part of a training.
const ABANDONED: &str = "abandoned-";

/// Folder of checkpoints.
///
/// # Example
///
/// ```no_run
/// use bitnet_burn::train::checkpoint::CheckpointFolder;
///
/// let folder = CheckpointFolder::new("run/checkpoints");
/// let newest = folder.newest()?;
/// for (step, error) in &newest.refused {
///     eprintln!("step {step} cannot be used: {error}");
/// }
/// if let Some(manifest) = newest.manifest {
///     println!("{:?}", manifest.position);
/// }
/// # Ok::<(), bitnet_burn::train::checkpoint::CheckpointError>(())
/// ```
#[derive(Debug, Clone)]
pub struct CheckpointFolder {
    path: PathBuf,
}

/// Last complete checkpoint, and later ones that cannot be used.
#[derive(Debug)]
pub struct WholeCheckpoint {
    /// Manifest; `None` if no checkpoint is complete.
    pub manifest: Option<CheckpointManifest>,
    /// Steps of later checkpoints, with the reason why each cannot be used.
    pub refused: Vec<(usize, CheckpointError)>,
}

/// Checkpoint with the best metric.
#[derive(Debug, Clone, PartialEq)]
pub struct BestCheckpoint {
    /// Path of its folder.
    pub path: PathBuf,
    /// Optimizer step.
    pub step: usize,
    /// Metric by which it was chosen.
    pub metric: MetricValue,
}

/// Complete checkpoint, read into memory.
pub(in crate::train) struct Checkpoint {
    /// Path of its folder.
    pub path: PathBuf,
    pub manifest: CheckpointManifest,
    pub records: Records,
}

/// Steps of checkpoints that cannot be used, with the reasons.
pub(in crate::train) type Refused = Vec<(usize, CheckpointError)>;

impl CheckpointFolder {
    /// Creates a handle of the folder at a path, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn step_path(&self, step: usize) -> PathBuf {
        self.path.join(format!("step-{step:08}"))
    }

    fn abandoned_path(&self, step: usize) -> PathBuf {
        self.path.join(format!("{ABANDONED}{step:08}"))
    }

    /// Returns the steps of its checkpoints in ascending order, complete or not.
    ///
    /// # Errors
    ///
    /// If the folder exists and cannot be read.
    pub fn steps(&self) -> Result<Vec<usize>, CheckpointError> {
        self.steps_of("step-")
    }

    /// Returns the steps, in ascending order, of checkpoints that were set aside when a training
    /// resumed from an earlier one.
    ///
    /// # Errors
    ///
    /// If the folder exists and cannot be read.
    pub fn abandoned_steps(&self) -> Result<Vec<usize>, CheckpointError> {
        self.steps_of(ABANDONED)
    }

    fn steps_of(&self, prefix: &str) -> Result<Vec<usize>, CheckpointError> {
        let mut steps = Vec::new();
        for name in self.names()? {
            let step = name.strip_prefix(prefix);
            steps.extend(step.and_then(|step| step.parse::<usize>().ok()));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// Returns the names of everything in the folder; none if it does not exist.
    fn names(&self) -> Result<Vec<String>, CheckpointError> {
        if !self.path.exists() {
            return Ok(Vec::new());
        }
        let name = |entry: io::Result<fs::DirEntry>| {
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        let names = fs::read_dir(&self.path).and_then(|entries| entries.map(name).collect());
        Ok(names.map_err(FileError::at(&self.path))?)
    }

    /// Reads only the manifest of a checkpoint.
    ///
    /// # Errors
    ///
    /// If it is missing, damaged, or of another version.
    pub fn manifest(&self, step: usize) -> Result<CheckpointManifest, CheckpointError> {
        read_manifest(&self.step_path(step))
    }

    /// Returns the manifest of a checkpoint after verifying all of its files.
    ///
    /// # Errors
    ///
    /// If a file is missing or damaged, or the manifest is foreign or newer.
    pub fn verify(&self, step: usize) -> Result<CheckpointManifest, CheckpointError> {
        let folder = self.step_path(step);
        let manifest = read_manifest(&folder)?;
        for entry in &manifest.files {
            check(&folder, entry)?;
        }
        Ok(manifest)
    }

    /// Returns the last checkpoint that is complete.
    ///
    /// # Errors
    ///
    /// If the folder exists and cannot be read.
    pub fn newest(&self) -> Result<WholeCheckpoint, CheckpointError> {
        let (manifest, refused) = self.newest_by(|step| self.verify(step))?;
        Ok(WholeCheckpoint { manifest, refused })
    }

    /// Returns the best complete checkpoint by a metric. Manifests tell it, and the files of the best alone
    /// are [verified](Self::verify).
    ///
    /// # Errors
    ///
    /// If the folder exists and cannot be read.
    pub fn best(&self, metric: &BestMetric) -> Result<Option<BestCheckpoint>, CheckpointError> {
        let mut steps = self.steps()?;
        loop {
            let mut best: Option<(usize, MetricValue)> = None;
            for &step in &steps {
                let found = self.manifest(step).ok();
                let found = found.and_then(|manifest| manifest.metric);
                if let Some(found) = found.filter(|found| found.metric == *metric)
                    && metric.is_better(found.value, best.as_ref().map(|(_, best)| best.value))
                {
                    best = Some((step, found));
                }
            }
            let Some((step, metric)) = best else {
                return Ok(None);
            };
            if self.verify(step).is_ok() {
                let path = self.step_path(step);
                return Ok(Some(BestCheckpoint { path, step, metric }));
            }
            steps.retain(|other| *other != step);
        }
    }

    /// Reads the last complete checkpoint, if any, and lists the later ones that are not.
    pub(in crate::train) fn load_newest(
        &self,
    ) -> Result<(Option<Checkpoint>, Refused), CheckpointError> {
        self.newest_by(|step| self.load(step))
    }

    /// Returns the last checkpoint that can be read, and why the later ones cannot.
    fn newest_by<T>(
        &self,
        read: impl Fn(usize) -> Result<T, CheckpointError>,
    ) -> Result<(Option<T>, Refused), CheckpointError> {
        let mut refused = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            match read(step) {
                Ok(checkpoint) => return Ok((Some(checkpoint), refused)),
                Err(error) => refused.push((step, error)),
            }
        }
        Ok((None, refused))
    }

    /// Reads a checkpoint, with the checks of [`verify`](Self::verify) on the same bytes that are
    /// used.
    pub(in crate::train) fn load(&self, step: usize) -> Result<Checkpoint, CheckpointError> {
        let path = self.step_path(step);
        let manifest = read_manifest(&path)?;
        let records = read_records(&path, &manifest)?;
        Ok(Checkpoint {
            path,
            manifest,
            records,
        })
    }

    /// Reads the checkpoint of a requested step. The error for one that cannot be used names the last
    /// one that can.
    pub(in crate::train) fn load_or_offer(
        &self,
        step: usize,
    ) -> Result<Checkpoint, CheckpointError> {
        self.load(step).map_err(|source| {
            let (path, lost) = (self.abandoned_path(step), !self.step_path(step).exists());
            if lost && path.exists() {
                return CheckpointError::Request(format!(
                    "{} was set aside when the training resumed from an earlier step: rename it to \
                     step-{step:08} to use it",
                    path.display()
                ));
            }
            let newest = self.newest().ok().and_then(|newest| newest.manifest);
            CheckpointError::Refused {
                step,
                source: Box::new(source),
                previous: newest.map(|manifest| manifest.position.step),
            }
        })
    }

    /// Writes a checkpoint. One of the same step is replaced when the new one is complete.
    pub(in crate::train) fn save(
        &self,
        records: Records,
        manifest: CheckpointManifest,
    ) -> Result<(), CheckpointError> {
        let step = manifest.position.step;
        fs::create_dir_all(&self.path).map_err(FileError::at(&self.path))?;
        let aside = self.path.join(format!("{ASIDE}step-{step:08}"));
        remove_folder(&aside)?;
        fs::create_dir(&aside).map_err(FileError::at(&aside))?;
        let written = write(&aside, records, manifest).and_then(|()| self.put(&aside, step));
        if written.is_err() {
            // The error of writing is reported, not that of the cleanup.
            let _ = fs::remove_dir_all(&aside);
        }
        written
    }

    /// Renames a complete checkpoint to its final name.
    fn put(&self, aside: &Path, step: usize) -> Result<(), CheckpointError> {
        let target = self.step_path(step);
        let old = self.path.join(format!("{ASIDE}old-step-{step:08}"));
        if target.exists() {
            // Only a checkpoint may be replaced by one.
            fs::read_dir(&target).map_err(FileError::at(&target))?;
            remove_folder(&old)?;
            fs::rename(&target, &old).map_err(FileError::at(&target))?;
        }
        fs::rename(aside, &target).map_err(FileError::at(&target))?;
        sync_folder(&self.path)?;
        remove_folder(&old)
    }

    /// Removes incomplete files of an earlier process. A checkpoint that was about to be replaced
    /// is renamed back.
    pub(in crate::train) fn clean(&self) -> Result<(), CheckpointError> {
        for name in self.names()? {
            let Some(rest) = name.strip_prefix(ASIDE) else {
                continue;
            };
            let path = self.path.join(&name);
            match rest.strip_prefix("old-") {
                Some(name) if !self.path.join(name).exists() => {
                    fs::rename(&path, self.path.join(name)).map_err(FileError::at(&path))?;
                }
                _ => remove_folder(&path)?,
            }
        }
        Ok(())
    }

    /// Sets the checkpoints after a step aside, and returns their steps.
    pub(in crate::train) fn abandon_after(
        &self,
        step: usize,
    ) -> Result<Vec<usize>, CheckpointError> {
        let later: Vec<_> = self.steps()?.into_iter().filter(|at| *at > step).collect();
        for &step in later.iter().rev() {
            let aside = self.abandoned_path(step);
            remove_folder(&aside)?;
            let path = self.step_path(step);
            fs::rename(&path, &aside).map_err(FileError::at(&path))?;
        }
        if !later.is_empty() {
            sync_folder(&self.path)?;
        }
        Ok(later)
    }

    /// Removes abandoned checkpoints up to a step.
    fn prune_abandoned(&self, step: usize) -> Result<(), CheckpointError> {
        let steps = self.abandoned_steps()?.into_iter();
        let mut passed = steps.filter(|at| *at <= step);
        passed.try_for_each(|step| remove_folder(&self.abandoned_path(step)))
    }

    /// Removes all but the last `keep_last` complete checkpoints up to the one of step `written`, and
    /// those of `keep`.
    ///
    /// Broken checkpoints do not count towards `keep_last`. Later ones, which the training did not
    /// resume from, and those that another version of this crate can read are kept. Abandoned ones
    /// are removed when the last step has passed theirs.
    pub(in crate::train) fn prune(
        &self,
        keep_last: usize,
        keep: &[usize],
        written: usize,
    ) -> Result<(), CheckpointError> {
        let mut whole = 0;
        let steps = self.steps()?.into_iter().rev();
        for step in steps.filter(|step| *step <= written) {
            let is_last = match self.manifest(step) {
                Err(CheckpointError::OtherVersion { .. }) => continue,
                Err(_) => false,
                Ok(_) => {
                    whole += 1;
                    if whole == 1 {
                        self.prune_abandoned(step)?;
                    }
                    whole <= keep_last
                }
            };
            if !is_last && !keep.contains(&step) {
                // Renamed first: a checkpoint is either complete or absent.
                let aside = self.path.join(format!("{ASIDE}removed-{step:08}"));
                let path = self.step_path(step);
                fs::rename(&path, &aside).map_err(FileError::at(&path))?;
                remove_folder(&aside)?;
            }
        }
        Ok(())
    }
}

fn remove_folder(path: &Path) -> Result<(), CheckpointError> {
    if path.exists() {
        fs::remove_dir_all(path).map_err(FileError::at(path))?;
    }
    Ok(())
}
