use core::fmt;
use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    base::{atomic_file, file_error::FileError},
    qat::QuantizationError,
};

/// Quantization errors of all layers at one step of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorReport {
    /// Number of optimizer steps taken before.
    pub step: usize,
    /// Errors of weights and activations, in the order of the model.
    pub layers: Vec<QuantizationError>,
}

impl ErrorReport {
    /// Returns the errors of the quantizers of weights.
    pub fn weights(&self) -> impl Iterator<Item = &QuantizationError> {
        self.layers.iter().filter(|layer| layer.is_weight)
    }

    /// Returns the errors of the quantizers of activations.
    pub fn activations(&self) -> impl Iterator<Item = &QuantizationError> {
        self.layers.iter().filter(|layer| !layer.is_weight)
    }

    /// Returns the error of one quantizer.
    pub fn layer(&self, path: &str) -> Option<&QuantizationError> {
        self.layers.iter().find(|layer| layer.path == path)
    }
}

impl fmt::Display for ErrorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "step {}", self.step)?;
        writeln!(
            f,
            "{:<44} {:>9} {:>10} {:>7} {:>7} {:>7} {:>7}",
            "quantizer", "SQNR dB", "MSE", "cosine", "zero", "clip", "flip"
        )?;
        let number = |value: Option<f64>, digits| match value {
            Some(value) => format!("{value:.digits$}"),
            None => "-".to_string(),
        };
        for layer in &self.layers {
            let mse = layer
                .mse
                .map_or("-".to_string(), |mse| format!("{mse:.2e}"));
            writeln!(
                f,
                "{:<44} {:>9} {mse:>10} {:>7} {:>7.3} {:>7.3} {:>7}",
                layer.path,
                number(layer.sqnr_db, 2),
                number(layer.cosine, 4),
                layer.zero_fraction,
                layer.clipping_rate,
                number(layer.flip_rate, 4),
            )?;
        }
        Ok(())
    }
}

/// Reports of a training, in the order of their steps.
///
/// Stored as a file of JSON lines, one per report.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorHistory {
    /// Reports.
    pub reports: Vec<ErrorReport>,
}

/// Reports of a training, shared by the monitor that adds them and the metrics that read them.
#[cfg(feature = "train")]
pub type SharedErrorHistory = crate::base::shared::Shared<ErrorHistory>;

/// Error when a history cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// Failure of the operating system.
    #[error(transparent)]
    Io(#[from] FileError),
    /// A line is not a valid report.
    #[error("{path}, line {line}: {source}")]
    Line {
        /// Path of the file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// Cause of the failure.
        source: serde_json::Error,
    },
}

impl ErrorHistory {
    /// Reads a file of JSON lines.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or a line is not a valid report.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, HistoryError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(FileError::at(path))?;
        let mut reports = Vec::new();
        for (i, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(FileError::at(path))?;
            let report = serde_json::from_str(&line);
            reports.push(report.map_err(|source| HistoryError::Line {
                path: path.to_path_buf(),
                line: i + 1,
                source,
            })?);
        }
        Ok(Self { reports })
    }

    /// Writes a file of JSON lines. An existing file is replaced only when the new one is complete.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), HistoryError> {
        let path = path.as_ref();
        write_whole(path, |file| {
            for report in &self.reports {
                serde_json::to_writer(&mut *file, report)?;
                file.write_all(b"\n")?;
            }
            Ok(())
        })
    }

    /// Removes the reports after a step.
    pub fn truncate(&mut self, step: usize) {
        self.reports.retain(|report| report.step <= step);
    }

    /// Returns the paths of the quantizers, in the order of their first reports.
    pub fn paths(&self) -> Vec<&str> {
        let mut paths: Vec<&str> = Vec::new();
        for layer in self.reports.iter().flat_map(|report| &report.layers) {
            if !paths.contains(&layer.path.as_str()) {
                paths.push(&layer.path);
            }
        }
        paths
    }

    /// Returns a value of one quantizer over the steps, where it is available.
    pub fn series(
        &self,
        path: &str,
        value: impl Fn(&QuantizationError) -> Option<f64>,
    ) -> Vec<(f64, f64)> {
        let point = |report: &ErrorReport| {
            let value = value(report.layer(path)?)?;
            Some((report.step as f64, value))
        };
        self.reports.iter().filter_map(point).collect()
    }
}

/// Writes a file atomically, and creates its folder if necessary.
pub(super) fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> Result<(), HistoryError> {
    let folder = path.parent().unwrap_or(path);
    let written = fs::create_dir_all(folder).and_then(|()| {
        atomic_file::write(path, |file| {
            let mut file = BufWriter::new(file);
            write(&mut file)?;
            file.flush()
        })
    });
    Ok(written.map_err(FileError::at(path))?)
}
