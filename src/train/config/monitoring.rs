use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::TrainingHandles;
use crate::{
    base::bounds::{Bounds, OutOfBounds},
    qat::QuantControls,
    train::callback::{ErrorMonitor, Mitigation, MitigationRule, NanGuard},
};

/// Configuration of logging and monitoring.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MonitoringConfig {
    /// Number of steps between progress lines, 1 or more; `"none"` for no lines.
    #[serde(with = "crate::base::serde_none")]
    pub progress_every: Option<usize>,
    /// Log file of JSON lines; none if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_file: Option<PathBuf>,
    /// Number of steps between losses in the log file, 1 or more.
    pub log_every: usize,
    /// Number of steps between gradient statistics, 1 or more; none if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradients_every: Option<usize>,
    /// Handling of NaN and infinite values.
    pub nan: NanPolicy,
    /// Measurement of quantization errors; none if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<ErrorMonitorConfig>,
}

/// Configuration of the measurement of quantization errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ErrorMonitorConfig {
    /// Number of steps between measurements, 1 or more.
    pub every: usize,
    /// HTML page; none if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub html_file: Option<PathBuf>,
    /// File of JSON lines; none if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_file: Option<PathBuf>,
    /// Rules that respond to the measurements.
    pub rules: Vec<MitigationRule>,
    /// `true` to only log the responses.
    pub dry_run: bool,
}

impl Default for ErrorMonitorConfig {
    fn default() -> Self {
        Self {
            every: 100,
            html_file: None,
            json_file: None,
            rules: Vec::new(),
            dry_run: false,
        }
    }
}

/// Handling of a gradient with NaN or infinite values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum NanPolicy {
    /// Values are not checked.
    Ignore,
    /// The training ends with an error.
    Stop,
    /// The step is skipped.
    Skip {
        /// Maximum number of consecutive skips.
        max_skips: usize,
    },
}

impl NanPolicy {
    pub(super) fn guard(self) -> Option<NanGuard> {
        match self {
            Self::Ignore => None,
            Self::Stop => Some(NanGuard::stop()),
            Self::Skip { max_skips } => Some(NanGuard::skip(max_skips)),
        }
    }
}

impl Default for MonitoringConfig {
    fn default() -> Self {
        Self {
            progress_every: Some(50),
            log_file: None,
            log_every: 50,
            gradients_every: None,
            nan: NanPolicy::Stop,
            errors: None,
        }
    }
}

impl ErrorMonitorConfig {
    pub(super) fn monitor(
        &self,
        controls: QuantControls,
        handles: &TrainingHandles,
    ) -> ErrorMonitor {
        let mut monitor = ErrorMonitor::new(controls).every(self.every);
        monitor.history = handles.history.clone();
        monitor.html = self.html_file.clone();
        monitor.json = self.json_file.clone();
        monitor
    }

    pub(super) fn mitigation(
        &self,
        controls: QuantControls,
        handles: &TrainingHandles,
    ) -> Mitigation {
        let mitigation = Mitigation::new(self.rules.clone(), controls, handles.history.clone());
        let mut mitigation = mitigation.with_learning_rate_scale(&handles.learning_rate);
        mitigation.dry_run = self.dry_run;
        mitigation
    }
}

impl MonitoringConfig {
    pub(super) fn validate(&self) -> Result<(), OutOfBounds> {
        if let Some(every) = self.progress_every {
            Bounds::COUNT.check("monitoring.progress_every", every)?;
        }
        if let Some(every) = self.gradients_every {
            Bounds::COUNT.check("monitoring.gradients_every", every)?;
        }
        if let Some(errors) = &self.errors {
            Bounds::COUNT.check("monitoring.errors.every", errors.every)?;
            for (i, rule) in errors.rules.iter().enumerate() {
                let field = format!("monitoring.errors.rules[{i}]");
                rule.validate().map_err(|error| error.within(&field))?;
            }
        }
        Bounds::COUNT.check("monitoring.log_every", self.log_every)
    }
}
