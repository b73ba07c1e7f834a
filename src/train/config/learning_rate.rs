use burn::lr_scheduler::{
    LrSchedulerConfig, cosine::CosineAnnealingLrSchedulerConfig, linear::LinearLrSchedulerConfig,
    module_lr_scheduler::ModuleLrScheduler, sequential::SequentialLrSchedulerConfig,
};
use serde::{Deserialize, Serialize};

use super::{
    TrainingConfigError,
    validation::{check, check_positive, check_share},
};
use crate::optim::{LearningRateScale, LrDecay, ScaledLrScheduler, TwoStageLrSchedulerConfig};

/// The learning rate over the optimizer steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum LearningRateConfig {
    /// A linear warm-up, then half a cosine from the peak to a share of it.
    Cosine {
        /// The largest learning rate, above 0.
        peak: f64,
        /// Steps of the warm-up, fewer than those of the training.
        #[serde(default = "default_warm_up")]
        warm_up_steps: usize,
        /// The last learning rate as a share of the peak, 0 to 1.
        #[serde(default = "default_end")]
        end: f64,
    },
    /// BitNet's two stages: see [`TwoStageLrScheduler`](crate::optim::TwoStageLrScheduler).
    TwoStage {
        /// Peak of the first stage, above 0.
        peak_1: f64,
        /// Peak of the second stage, above 0.
        peak_2: f64,
        /// Steps of the warm-up, fewer than those of the training.
        #[serde(default = "default_warm_up")]
        warm_up_steps: usize,
        /// How the learning rate decays.
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
    pub(super) fn validate(&self) -> Result<(), TrainingConfigError> {
        match *self {
            Self::Cosine { peak, end, .. } => {
                check_positive("learning_rate.cosine.peak", peak)?;
                check_share("learning_rate.cosine.end", end)
            }
            Self::TwoStage { peak_1, peak_2, .. } => {
                check_positive("learning_rate.two_stage.peak_1", peak_1)?;
                check_positive("learning_rate.two_stage.peak_2", peak_2)
            }
        }
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

    /// Initialize the scheduler for a training of so many optimizer steps, whose learning rate is
    /// multiplied by a factor.
    ///
    /// # Errors
    ///
    /// If a value is out of its range, or the warm-up is no shorter than the training.
    pub fn init(
        &self,
        total_steps: usize,
        scale: &LearningRateScale,
    ) -> Result<ModuleLrScheduler, TrainingConfigError> {
        self.validate()?;
        let (field, warm_up) = self.warm_up();
        let allowed = format!("fewer than the {total_steps} steps of the training");
        check(warm_up < total_steps, field, warm_up, &allowed)?;
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
        Ok(ScaledLrScheduler::new(scheduler, scale).into())
    }
}

fn cosine(
    peak: f64,
    warm_up: usize,
    end: f64,
    total_steps: usize,
) -> Result<ModuleLrScheduler, TrainingConfigError> {
    let burn = |message| TrainingConfigError::Parse {
        field: "learning_rate.cosine".to_string(),
        message,
    };
    let rest = total_steps - warm_up;
    let cosine = CosineAnnealingLrSchedulerConfig::new(peak, rest).with_min_lr(end * peak);
    if warm_up == 0 {
        return cosine.init().map_err(burn);
    }
    let first = peak / warm_up as f64;
    let ramp = LinearLrSchedulerConfig::new(first, peak, (warm_up - 1).max(1));
    let stages = vec![
        LrSchedulerConfig::Linear(ramp),
        LrSchedulerConfig::Cosine(cosine),
    ];
    SequentialLrSchedulerConfig::new(stages, vec![warm_up])
        .init()
        .map_err(burn)
}
