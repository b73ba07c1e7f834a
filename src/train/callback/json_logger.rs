use std::{
    fs::{self, File, TryLockError},
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use burn::train::{LearnerModel, metric::store::Split};
use serde_json::{Value, json};

use super::{Callback, CallbackResult, TrainingEvent, TrainingRun, earlier_file::set_aside};
use crate::base::{
    atomic_file::{self, Destination},
    bounds::Bounds,
};

/// Logs steps, validations and events of a training as JSON lines.
///
/// ```text
/// {"kind":"step","step":100,"epoch":1,"loss":2.31,"learning_rate":0.001}
/// {"kind":"validation","step":250,"epoch":1,"metrics":{"Loss":2.02}}
/// {"kind":"event","step":250,"epoch":1,"source":"checkpoint","message":"step 250 is saved"}
/// ```
///
/// A resumed training continues the file, without the lines of steps that are repeated. A new
/// training renames an existing file, such as to `log.earlier-1.jsonl`. Pipes, character devices
/// and the target of a symbolic link are not renamed but written to. A file that another logger
/// writes to is an error.
pub struct JsonLogger {
    name: String,
    path: PathBuf,
    every: usize,
    metrics: Vec<String>,
    file: Option<BufWriter<File>>,
}

impl JsonLogger {
    /// Creates a logger that writes every 50th step and the `Loss` of each validation.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            name: "json_logger".to_string(),
            path: path.into(),
            every: 50,
            metrics: vec!["Loss".to_string()],
            file: None,
        }
    }

    /// Sets a name other than `json_logger`, so that several can be used side by side.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the number of steps between two lines; reading a loss waits for the device.
    ///
    /// # Panics
    ///
    /// If `every` is 0.
    #[track_caller]
    #[must_use]
    pub fn every(mut self, every: usize) -> Self {
        Bounds::COUNT.assert("every", every);
        self.every = every;
        self
    }

    /// Adds a numeric validation metric.
    #[must_use]
    pub fn with_metric(mut self, name: impl Into<String>) -> Self {
        self.metrics.push(name.into());
        self
    }

    fn write(&mut self, line: &Value) -> CallbackResult {
        let path = self.path.display().to_string();
        if let Some(file) = &mut self.file {
            // A single write, so that a killed program leaves complete lines.
            let written = file.write_all(format!("{line}\n").as_bytes());
            let written = written.and_then(|()| file.flush());
            written.map_err(|error| format!("{path}: {error}"))?;
        }
        Ok(())
    }
}

/// Opens the log and removes the lines after a step.
fn open(path: &Path, step: usize) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let destination = Destination::of(path)?;
    if let Destination::File(path) = &destination
        && path.exists()
    {
        lock(&File::open(path)?)?;
        match step {
            0 => set_aside(path)?,
            _ => atomic_file::write(path, |kept| keep_up_to(step, path, kept))?,
        }
    }
    let file = destination.append()?;
    if let Destination::File(_) = destination {
        lock(&file)?;
    }
    Ok(file)
}

/// Locks a log until it is closed, where the file system supports it.
fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "expected a file of its own, found one that another logger writes to",
        )),
        _ => Ok(()),
    }
}

/// Copies the lines of a log up to the checkpoint of a step.
fn keep_up_to(step: usize, path: &Path, kept: &mut File) -> io::Result<()> {
    let mut kept = BufWriter::new(kept);
    let (step, saved) = (step as u64, TrainingEvent::saved(step));
    // Lines of the step itself, and the number of those before its checkpoint: the others are
    // repeated.
    let (mut of_step, mut before) = (Vec::new(), None);
    for line in BufReader::new(File::open(path)?).lines() {
        let line = line?;
        let value: Value = serde_json::from_str(&line).unwrap_or_default();
        match value["step"].as_u64() {
            Some(at) if at < step => writeln!(kept, "{line}")?,
            Some(at) if at == step => {
                of_step.push(line);
                if value["source"] == TrainingEvent::CHECKPOINT && value["message"] == saved {
                    before = Some(of_step.len());
                }
            }
            // An incomplete line is dropped, too.
            _ => {}
        }
    }
    for line in of_step.iter().take(before.unwrap_or(usize::MAX)) {
        writeln!(kept, "{line}")?;
    }
    kept.flush()
}

impl<M: LearnerModel> Callback<M> for JsonLogger {
    fn name(&self) -> &str {
        &self.name
    }

    fn on_train_start(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let file = open(&self.path, run.position().step);
        let file = file.map_err(|error| format!("{}: {error}", self.path.display()))?;
        self.file = Some(BufWriter::new(file));
        Ok(())
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let position = run.position();
        if !position.step.is_multiple_of(self.every) {
            return Ok(());
        }
        let loss = run.step_loss()?;
        self.write(&json!({
            "kind": "step",
            "step": position.step,
            "epoch": position.epoch,
            "loss": loss,
            "learning_rate": run.learning_rate(),
        }))
    }

    fn on_validation_end(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let metrics = self.metrics.iter().filter_map(|name| {
            let value = run.metric(name, Split::Valid)?;
            Some((name.clone(), json!(value)))
        });
        let metrics: serde_json::Map<String, Value> = metrics.collect();
        let position = run.position();
        self.write(&json!({
            "kind": "validation",
            "step": position.step,
            "epoch": position.epoch,
            "metrics": metrics,
        }))
    }

    fn on_event(&mut self, event: &TrainingEvent) -> CallbackResult {
        let mut line = serde_json::to_value(event)?;
        line["kind"] = "event".into();
        self.write(&line)
    }
}
