use core::fmt;
use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{base::atomic_file, qat::QuantizationError};

/// What quantisation did to each layer at one step of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorReport {
    /// Optimizer steps taken until then.
    pub step: usize,
    /// Weights and activations of the layers, in the order of the model.
    pub layers: Vec<QuantizationError>,
}

impl ErrorReport {
    /// The quantisers of weights.
    pub fn weights(&self) -> impl Iterator<Item = &QuantizationError> {
        self.layers.iter().filter(|layer| layer.is_weight)
    }

    /// The quantisers of activations.
    pub fn activations(&self) -> impl Iterator<Item = &QuantizationError> {
        self.layers.iter().filter(|layer| !layer.is_weight)
    }

    /// The report on one quantiser.
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

/// The reports of a training, in the order of their steps.
///
/// On disk it is a file of JSON lines, one report each.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorHistory {
    /// The reports.
    pub reports: Vec<ErrorReport>,
}

/// Error when a history cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// A line is no report.
    #[error("{path}, line {line}: {source}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl ErrorHistory {
    /// Reads a file of JSON lines.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or a line is no report.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, HistoryError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(io_error(path))?;
        let mut reports = Vec::new();
        for (i, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(io_error(path))?;
            let report = serde_json::from_str(&line);
            reports.push(report.map_err(|source| HistoryError::Line {
                path: path.to_path_buf(),
                line: i + 1,
                source,
            })?);
        }
        Ok(Self { reports })
    }

    /// Writes a file of JSON lines; an older one stays until the new one is whole.
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
        .map_err(io_error(path))
    }

    /// Leaves out the reports after a step.
    pub fn truncate(&mut self, step: usize) {
        self.reports.retain(|report| report.step <= step);
    }

    /// Paths of the quantisers, in the order of the first report that has them.
    pub fn paths(&self) -> Vec<&str> {
        let mut paths: Vec<&str> = Vec::new();
        for layer in self.reports.iter().flat_map(|report| &report.layers) {
            if !paths.contains(&layer.path.as_str()) {
                paths.push(&layer.path);
            }
        }
        paths
    }

    /// A number of one quantiser over the steps, where there is one.
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

/// Writes a file as a whole, into a folder that is made if it is not there.
pub(super) fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> io::Result<()> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder)?;
    }
    atomic_file::write(path, |file| {
        let mut file = BufWriter::new(file);
        write(&mut file)?;
        file.flush()
    })
}

pub(super) fn io_error(path: &Path) -> impl Fn(io::Error) -> HistoryError + '_ {
    |source| HistoryError::Io {
        path: path.to_path_buf(),
        source,
    }
}
