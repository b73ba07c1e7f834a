use burn::lr_scheduler::{
    LrSchedulerConfig, cosine::CosineAnnealingLrSchedulerConfig, linear::LinearLrSchedulerConfig,
    module_lr_scheduler::ModuleLrScheduler, sequential::SequentialLrSchedulerConfig,
};
use serde::{Deserialize, Serialize};

use super::TrainingConfigError;
use crate::{
    base::bounds::{Bounds, OutOfBounds},
    optim::{LearningRateScale, LrDecay, ScaledLrScheduler, TwoStageLrSchedulerConfig},
};

/// Learning rate schedule over the optimizer steps, counted from 0: the last step of `T` is `T -
/// 1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum LearningRateConfig {
    /// Linear warm-up, then half a cosine from the peak to a fraction of it. At step `t` of `T`,
    /// with `w` steps of warm-up:
    ///
    /// - `lr = peak (t + 1) / w` for `t < w`,
    /// - `lr = peak (end + (1 - end) (1 + cos(pi (t - w) / (T - 1 - w))) / 2)` up to the last step:
    ///   the peak at step `w`, and `end peak` at step `T - 1`,
    /// - `lr = end peak` afterwards.
    ///
    /// Equal to PyTorch's `CosineAnnealingLR` with `T_max = T - 1 - w`, the number of its steps
    /// from the peak to the last step. (With `T_max = T - w` the last step would not reach
    /// `eta_min`.) A training of a single step uses the peak.
    Cosine {
        /// Maximum learning rate, above 0.
        peak: f64,
        /// Number of warm-up steps, less than that of the training.
        #[serde(default = "default_warm_up")]
        warm_up_steps: usize,
        /// Learning rate of the last step as a fraction of the peak, 0 to 1.
        #[serde(default = "default_end")]
        end: f64,
    },
    /// BitNet's two stages: see [`TwoStageLrSchedulerConfig`](crate::optim::TwoStageLrSchedulerConfig). It
    /// reaches 0 after the last step, which has the smallest rate above it.
    TwoStage {
        /// Peak of the first stage, above 0.
        peak_1: f64,
        /// Peak of the second stage, above 0.
        peak_2: f64,
        /// Number of warm-up steps, less than that of the training.
        #[serde(default = "default_warm_up")]
        warm_up_steps: usize,
        /// Decay of the learning rate.
        #[serde(default = "default_decay")]
        decay: LrDecay,
    },
}

fn default_warm_up() -> usize {
    100
}

fn default_end() -> f64 {
    0.1
}

fn default_decay() -> LrDecay {
    LrDecay::Linear
}

impl Default for LearningRateConfig {
    fn default() -> Self {
        Self::Cosine {
            peak: 2e-3,
            warm_up_steps: default_warm_up(),
            end: default_end(),
        }
    }
}

impl LearningRateConfig {
    pub(super) fn validate(&self) -> Result<(), OutOfBounds> {
        match *self {
            Self::Cosine { peak, end, .. } => {
                Bounds::POSITIVE.check("learning_rate.cosine.peak", peak)?;
                Bounds::FRACTION.check("learning_rate.cosine.end", end)
            }
            Self::TwoStage { peak_1, peak_2, .. } => {
                Bounds::POSITIVE.check("learning_rate.two_stage.peak_1", peak_1)?;
                Bounds::POSITIVE.check("learning_rate.two_stage.peak_2", peak_2)
            }
        }
    }

    /// Multiplies the peaks of the schedule by a factor.
    pub(super) fn scaled(&self, factor: f64) -> Self {
        let mut scaled = self.clone();
        match &mut scaled {
            Self::Cosine { peak, .. } => *peak *= factor,
            Self::TwoStage { peak_1, peak_2, .. } => {
                *peak_1 *= factor;
                *peak_2 *= factor;
            }
        }
        scaled
    }

    fn warm_up(&self) -> (&'static str, usize) {
        match *self {
            Self::Cosine { warm_up_steps, .. } => {
                ("learning_rate.cosine.warm_up_steps", warm_up_steps)
            }
            Self::TwoStage { warm_up_steps, .. } => {
                ("learning_rate.two_stage.warm_up_steps", warm_up_steps)
            }
        }
    }

    /// Initialize the scheduler for a training of `total_steps` optimizer steps, whose learning
    /// rate is multiplied by a factor.
    ///
    /// # Errors
    ///
    /// If a value is out of range, or the warm-up is not shorter than the training.
    pub fn init(
        &self,
        total_steps: usize,
        scale: &LearningRateScale,
    ) -> Result<ModuleLrScheduler, TrainingConfigError> {
        Ok(self.scheduler(total_steps, scale)?.into())
    }

    /// Creates the scheduler of one group of parameters.
    pub(super) fn scheduler(
        &self,
        total_steps: usize,
        scale: &LearningRateScale,
    ) -> Result<ScaledLrScheduler, TrainingConfigError> {
        self.validate()?;
        let (field, warm_up) = self.warm_up();
        let allowed = format!("fewer than the {total_steps} steps of the training");
        OutOfBounds::unless(warm_up < total_steps, field, &allowed, warm_up)?;
        let scheduler = match *self {
            Self::Cosine { peak, end, .. } => cosine(peak, warm_up, end, total_steps)?,
            Self::TwoStage {
                peak_1,
                peak_2,
                decay,
                ..
            } => {
                let config = TwoStageLrSchedulerConfig::new(peak_1, peak_2, total_steps);
                let config = config.with_warmup_steps(warm_up).with_decay(decay);
                config.init().into()
            }
        };
        Ok(ScaledLrScheduler::new(scheduler, scale))
    }
}

fn cosine(
    peak: f64,
    warm_up: usize,
    end: f64,
    total_steps: usize,
) -> Result<ModuleLrScheduler, TrainingConfigError> {
    let last = total_steps - 1;
    let mut stages = Vec::new();
    // Steps at which one stage ends and the next begins.
    let mut milestones = Vec::new();
    if warm_up > 0 {
        let first = peak / warm_up as f64;
        let ramp = LinearLrSchedulerConfig::new(first, peak, (warm_up - 1).max(1));
        stages.push(LrSchedulerConfig::Linear(ramp));
        milestones.push(warm_up);
    }
    if last > warm_up {
        let cosine = CosineAnnealingLrSchedulerConfig::new(peak, last - warm_up);
        stages.push(LrSchedulerConfig::Cosine(cosine.with_min_lr(end * peak)));
        milestones.push(last);
    }
    // Burn's cosine would rise again after its end.
    let held = match stages.is_empty() {
        true => peak,
        false => end * peak,
    };
    stages.push(LrSchedulerConfig::Constant(held));
    SequentialLrSchedulerConfig::new(stages, milestones)
        .init()
        .map_err(|message| TrainingConfigError::Parse {
            field: "learning_rate.cosine".to_string(),
            message,
        })
}
