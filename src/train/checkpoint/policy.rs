use std::path::PathBuf;

use crate::base::bounds::Bounds;
use serde::{Deserialize, Serialize};

/// Choice of the checkpoint to resume from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Resume {
    /// Starts a new training, in a folder without checkpoints.
    #[default]
    Never,
    /// Resumes from the last complete checkpoint, or starts a new training if there is none. A
    /// broken one is skipped with a [message](crate::train::callback::TrainingEvent). A training
    /// that is over, by its last epoch or by early stopping, takes no further step.
    Latest,
    /// Resumes from the checkpoint of this step, which must be complete. Later ones are set aside.
    Step(usize),
}

/// Metric by which the best checkpoint is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestMetric {
    /// Name of a numeric validation metric, such as `Loss`.
    pub name: String,
    /// `true` if larger values are better.
    #[serde(default)]
    pub higher_is_better: bool,
}

impl BestMetric {
    /// Returns the smallest validation loss, as in Burn's `LossMetric`.
    pub fn loss() -> Self {
        Self {
            name: "Loss".to_string(),
            higher_is_better: false,
        }
    }

    /// Returns `true` if a value is better than the best so far. NaN never is.
    pub(in crate::train) fn is_better(&self, value: f64, best: Option<f64>) -> bool {
        !value.is_nan()
            && best.is_none_or(|best| match self.higher_is_better {
                true => value > best,
                false => value < best,
            })
    }
}

/// Policy that sets when checkpoints are written and which are kept.
///
/// # Example
///
/// ```
/// use bitnet_burn::train::checkpoint::{BestMetric, CheckpointPolicy, Resume};
///
/// let policy = CheckpointPolicy::new("run/checkpoints")
///     .every_steps(500)
///     .keep_last(2)
///     .keep_best(BestMetric::loss())
///     .resume(Resume::Latest)
///     .fingerprint("d_model 128, seed 0");
/// assert_eq!(policy.every_steps, Some(500));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointPolicy {
    /// Folder of the checkpoints.
    pub folder: PathBuf,
    /// Number of optimizer steps between checkpoints; `None` for none within an epoch.
    #[serde(default)]
    pub every_steps: Option<usize>,
    /// `true` to write a checkpoint after each validation, at the end of an epoch. The last step of
    /// a training is always saved.
    #[serde(default = "yes")]
    pub every_epoch: bool,
    /// Number of last checkpoints that are kept, at least 1.
    #[serde(default = "default_keep_last")]
    pub keep_last: usize,
    /// Metric by which the best checkpoint is kept in addition, compared at the end of each epoch.
    /// The validation must have it.
    #[serde(default)]
    pub keep_best: Option<BestMetric>,
    /// Checkpoint to resume from.
    #[serde(default)]
    pub resume: Resume,
    /// Identifier of the run, such as its configuration in one line. Only a checkpoint with the
    /// same fingerprint is resumed.
    #[serde(default)]
    pub fingerprint: String,
    /// `true` to cast a checkpoint with other float types to those of the model. Otherwise it is an
    /// error.
    #[serde(default)]
    pub cast_on_load: bool,
    /// `true` to leave out parameters that do not train, such as the base of adapters, unless something else changes
    /// them. A training is resumed with a model that has the same, which their checksums tell.
    #[serde(default)]
    pub trained_only: bool,
}

fn yes() -> bool {
    true
}

fn default_keep_last() -> usize {
    2
}

impl CheckpointPolicy {
    /// Creates a policy with a checkpoint at the end of each epoch, of which the last two are kept.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            every_steps: None,
            every_epoch: true,
            keep_last: default_keep_last(),
            keep_best: None,
            resume: Resume::Never,
            fingerprint: String::new(),
            cast_on_load: false,
            trained_only: false,
        }
    }

    /// Sets the number of optimizer steps between checkpoints, in addition to those of epochs.
    ///
    /// # Panics
    ///
    /// If the number is 0.
    #[track_caller]
    #[must_use]
    pub fn every_steps(mut self, steps: usize) -> Self {
        Bounds::COUNT.assert("every_steps", steps);
        self.every_steps = Some(steps);
        self
    }

    /// Sets the number of last checkpoints that are kept.
    ///
    /// # Panics
    ///
    /// If the number is 0.
    #[track_caller]
    #[must_use]
    pub fn keep_last(mut self, count: usize) -> Self {
        Bounds::COUNT.assert("keep_last", count);
        self.keep_last = count;
        self
    }

    /// Sets the metric by which the best checkpoint is kept in addition.
    #[must_use]
    pub fn keep_best(mut self, metric: BestMetric) -> Self {
        self.keep_best = Some(metric);
        self
    }

    /// Sets the checkpoint to resume from.
    #[must_use]
    pub fn resume(mut self, resume: Resume) -> Self {
        self.resume = resume;
        self
    }

    /// Sets the identifier of the run.
    #[must_use]
    pub fn fingerprint(mut self, fingerprint: impl Into<String>) -> Self {
        self.fingerprint = fingerprint.into();
        self
    }

    /// Sets whether checkpoints with other float types are cast to those of the model.
    ///
    /// The optimizer state of a parameter that now has another type than f32 is reset, which is
    /// logged.
    #[must_use]
    pub fn cast_on_load(mut self, cast: bool) -> Self {
        self.cast_on_load = cast;
        self
    }

    /// Sets whether parameters that do not train are left out.
    #[must_use]
    pub fn trained_only(mut self, trained_only: bool) -> Self {
        self.trained_only = trained_only;
        self
    }
}
