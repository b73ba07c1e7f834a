use std::path::PathBuf;

use crate::base::bounds::Bounds;
use burn::train::metric::store::Direction;
use serde::{Deserialize, Serialize};

/// Whether a training goes on from a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Resume {
    /// It starts anew, in a folder without checkpoints.
    #[default]
    Never,
    /// It goes on from the newest whole checkpoint, or starts anew if there is none. A broken one is
    /// passed over with a [message](crate::train::callback::TrainingEvent). A training that is over,
    /// by its last epoch or by early stopping, makes no further step.
    Latest,
    /// It goes on from the checkpoint of this step, which must be whole. Later ones are set aside.
    Step(usize),
}

/// The metric by which the best checkpoint is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestMetric {
    /// Name of a numeric metric of the validation, such as `Loss`.
    pub name: String,
    /// Whether larger values are better.
    #[serde(default)]
    pub higher_is_better: bool,
}

impl BestMetric {
    /// The smallest validation loss, as Burn's `LossMetric` has it.
    pub fn loss() -> Self {
        Self {
            name: "Loss".to_string(),
            higher_is_better: false,
        }
    }

    /// Whether a value is better than the best so far. NaN never is.
    pub(in crate::train) fn is_better(&self, value: f64, best: Option<f64>) -> bool {
        !value.is_nan()
            && best.is_none_or(|best| match self.higher_is_better {
                true => value > best,
                false => value < best,
            })
    }

    /// The direction of a search for the best.
    pub fn direction(&self) -> Direction {
        match self.higher_is_better {
            true => Direction::Highest,
            false => Direction::Lowest,
        }
    }
}

/// When checkpoints are written, and which are kept.
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
    /// Where the checkpoints are.
    pub folder: PathBuf,
    /// Optimizer steps from one to the next; `None` for none within an epoch.
    #[serde(default)]
    pub every_steps: Option<usize>,
    /// If one is written after each validation, at the end of an epoch. The last step of a training
    /// is saved in any case.
    #[serde(default = "yes")]
    pub every_epoch: bool,
    /// How many of the newest are kept, at least 1.
    #[serde(default = "default_keep_last")]
    pub keep_last: usize,
    /// The metric by which the best is kept besides, judged at the end of each epoch. The validation
    /// must have it.
    #[serde(default)]
    pub keep_best: Option<BestMetric>,
    /// Whether the training goes on from one.
    #[serde(default)]
    pub resume: Resume,
    /// What the run is, such as its configuration in one line: only a checkpoint with the same words
    /// is resumed.
    #[serde(default)]
    pub fingerprint: String,
    /// Whether a checkpoint with other float types is cast to those of the model. Without it, it is
    /// an error.
    #[serde(default)]
    pub cast_on_load: bool,
}

fn yes() -> bool {
    true
}

fn default_keep_last() -> usize {
    2
}

impl CheckpointPolicy {
    /// A checkpoint at the end of each epoch, of which the last two are kept.
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
        }
    }

    /// The same with one every so many optimizer steps, too.
    ///
    /// # Panics
    ///
    /// If the number is 0.
    #[track_caller]
    pub fn every_steps(mut self, steps: usize) -> Self {
        Bounds::COUNT.assert("every_steps", steps);
        self.every_steps = Some(steps);
        self
    }

    /// The same with so many of the newest kept.
    ///
    /// # Panics
    ///
    /// If the number is 0.
    #[track_caller]
    pub fn keep_last(mut self, count: usize) -> Self {
        Bounds::COUNT.assert("keep_last", count);
        self.keep_last = count;
        self
    }

    /// The same with the best kept besides.
    pub fn keep_best(mut self, metric: BestMetric) -> Self {
        self.keep_best = Some(metric);
        self
    }

    /// The same with another choice of where to begin.
    pub fn resume(mut self, resume: Resume) -> Self {
        self.resume = resume;
        self
    }

    /// The same with what the run is.
    pub fn fingerprint(mut self, fingerprint: impl Into<String>) -> Self {
        self.fingerprint = fingerprint.into();
        self
    }

    /// The same with checkpoints of other float types cast to those of the model.
    ///
    /// What the optimizer knows of a parameter that is now of another type than f32 begins anew, and a
    /// message says so.
    pub fn cast_on_load(mut self, cast: bool) -> Self {
        self.cast_on_load = cast;
        self
    }
}
