use core::f64::consts::PI;

use burn::{
    config::Config,
    lr_scheduler::{LrScheduler, LrSchedulerRecord},
    optim::LearningRate,
};
use serde::{Deserialize, Serialize};

use crate::base::bounds::Bounds;

/// Learning rate schedule of BitNet: warm-up, decay to zero, and an abrupt drop of the peak at the
/// midpoint.
///
/// At step `t` of `T`, counted from 0, with `w` steps of warm-up:
///
/// - `lr = peak_1 (t + 1) / w` for `t < w`,
/// - `lr = peak d((t - w) / (T - w))` afterwards, with `d` the [decay](LrDecay) and `peak` that of
///   the stage,
/// - `lr = 0` for `t >= T`: the last step, `T - 1`, has `peak d(1 - 1 / (T - w))`, the smallest
///   rate above 0.
///
/// Both stages share one decay over the whole training: the second starts `peak_2 / peak_1` times
/// below the end of the first. Set the [weight decay](super::WeightDecaySchedule) to 0 at the same
/// step.
///
/// Source: [Training Tips, Code and
/// FAQ](https://github.com/microsoft/unilm/blob/master/bitnet/The-Era-of-1-bit-LLMs__Training_Tips_Code_FAQ.pdf),
/// section 2; with cosines, [BitNet b1.58 2B4T Technical Report](https://arxiv.org/abs/2504.12285),
/// section 3.1, which gives no values.
#[derive(Config, Debug, PartialEq)]
pub struct TwoStageLrSchedulerConfig {
    /// Peak of the first stage; 1.5e-3 to 1.2e-3 in BitNet b1.58 of 700M to 3.9B parameters.
    pub peak_1: LearningRate,
    /// Peak of the second stage; 1e-3 to 8e-4 there.
    pub peak_2: LearningRate,
    /// Number of steps of the training.
    pub total_steps: usize,
    /// Number of warm-up steps.
    #[config(default = 375)]
    pub warmup_steps: usize,
    /// First step of the second stage; the midpoint of the training by default.
    pub second_stage: Option<usize>,
    /// Decay of the learning rate after the warm-up.
    #[config(default = "LrDecay::Linear")]
    pub decay: LrDecay,
}

/// Decay of a learning rate from 1 to 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LrDecay {
    /// `1 - x`: BitNet b1.58.
    Linear,
    /// `(1 + cos(pi x)) / 2`: BitNet b1.58 2B4T.
    Cosine,
}

/// Scheduler of a [`TwoStageLrSchedulerConfig`].
#[derive(Debug, Clone)]
pub struct TwoStageLrScheduler {
    config: TwoStageLrSchedulerConfig,
    step: usize,
}

impl TwoStageLrSchedulerConfig {
    /// Initialize the scheduler.
    ///
    /// # Panics
    ///
    /// If a peak is not a positive number, or the warm-up does not end within the training.
    #[track_caller]
    pub fn init(&self) -> TwoStageLrScheduler {
        Bounds::POSITIVE.assert("peak_1", self.peak_1);
        Bounds::POSITIVE.assert("peak_2", self.peak_2);
        assert!(
            self.warmup_steps < self.total_steps,
            "the warm-up must end within the training, got {} of {} steps",
            self.warmup_steps,
            self.total_steps
        );
        TwoStageLrScheduler {
            config: self.clone(),
            step: 0,
        }
    }

    /// Returns the learning rate at a step.
    pub fn learning_rate(&self, step: usize) -> LearningRate {
        let second_stage = self.second_stage.unwrap_or(self.total_steps / 2);
        let peak = match step < second_stage {
            true => self.peak_1,
            false => self.peak_2,
        };
        if step < self.warmup_steps {
            return peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        if step >= self.total_steps {
            return 0.0;
        }
        let part =
            (step - self.warmup_steps) as f64 / (self.total_steps - self.warmup_steps) as f64;
        peak * match self.decay {
            LrDecay::Linear => 1.0 - part,
            LrDecay::Cosine => (1.0 + (PI * part).cos()) / 2.0,
        }
    }
}

impl LrScheduler for TwoStageLrScheduler {
    fn step(&mut self) -> LearningRate {
        let lr = self.config.learning_rate(self.step);
        self.step += 1;
        lr
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::new().with_scalar("step", self.step)
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        if let Some(step) = record.scalar("step") {
            self.step = step;
        }
    }
}
