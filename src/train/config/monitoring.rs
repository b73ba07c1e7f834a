use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{TrainingConfigError, validation::check_count};

/// What a training says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MonitoringConfig {
    /// Steps from one line of progress to the next, 1 or more; `"none"` for no lines.
    #[serde(with = "crate::quant::none_word")]
    pub progress_every: Option<usize>,
    /// File of JSON lines; absent for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_file: Option<PathBuf>,
    /// Steps from one line with a loss in this file to the next, 1 or more.
    pub log_every: usize,
    /// Steps from one look at the gradients to the next, 1 or more; absent for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradients_every: Option<usize>,
    /// What is done about NaN and infinite values.
    pub nan: NanPolicy,
}

/// What is done about a gradient with NaN or infinite values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum NanPolicy {
    /// Nothing looks for them.
    Ignore,
    /// The training ends with an error.
    Stop,
    /// The step is skipped.
    Skip {
        /// Steps that may be skipped in a row.
        max_skips: usize,
    },
}

impl Default for MonitoringConfig {
    fn default() -> Self {
        Self {
            progress_every: Some(50),
            log_file: None,
            log_every: 50,
            gradients_every: None,
            nan: NanPolicy::Stop,
        }
    }
}

impl MonitoringConfig {
    pub(super) fn validate(&self) -> Result<(), TrainingConfigError> {
        if let Some(every) = self.progress_every {
            check_count("monitoring.progress_every", every)?;
        }
        if let Some(every) = self.gradients_every {
            check_count("monitoring.gradients_every", every)?;
        }
        check_count("monitoring.log_every", self.log_every)
    }
}
