use core::f64::consts::PI;

use burn::{
    config::Config,
    lr_scheduler::{LrScheduler, LrSchedulerRecord},
    optim::LearningRate,
};
use serde::{Deserialize, Serialize};

use crate::base::bounds::Bounds;

/// Configuration of a [`TwoStageLrScheduler`].
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
#[derive(Debug, Clone)]
pub struct TwoStageLrScheduler {
    config: TwoStageLrSchedulerConfig,
    step: usize,
}

impl TwoStageLrSchedulerConfig {
    /// Initialize a new [`TwoStageLrScheduler`].
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TwoStageLrSchedulerConfig {
        TwoStageLrSchedulerConfig::new(1.2e-3, 8e-4, 1375)
    }

    #[track_caller]
    fn check(config: &TwoStageLrSchedulerConfig, expected: &[(usize, f64)]) {
        for &(step, value) in expected {
            let lr = config.learning_rate(step);
            assert!((lr - value).abs() < 1e-15, "step {step}: {lr:e}, {value:e}");
        }
    }

    #[test]
    fn the_linear_recipe_has_its_values_at_the_edges() {
        // 375 steps of warm-up, 1000 of decay, the drop at step 687.
        let expected = [
            (0, 1.2e-3 / 375.0),
            (374, 1.2e-3),
            (375, 1.2e-3),
            (686, 1.2e-3 * 0.689),
            (687, 8e-4 * 0.688),
            (1374, 8e-4 * 0.001),
            (1375, 0.0),
            (5000, 0.0),
        ];
        check(&config(), &expected);
    }

    #[test]
    fn the_cosine_recipe_has_its_values_at_the_edges() {
        let config = config()
            .with_decay(LrDecay::Cosine)
            .with_second_stage(Some(875));
        let half = |part: f64| (1.0 + (PI * part).cos()) / 2.0;
        let expected = [
            (374, 1.2e-3),
            (375, 1.2e-3),
            (874, 1.2e-3 * half(0.499)),
            (875, 8e-4 * 0.5),
            (1374, 8e-4 * half(0.999)),
            (1375, 0.0),
        ];
        check(&config, &expected);
    }

    #[test]
    fn without_warm_up_it_starts_at_the_peak() {
        let config = TwoStageLrSchedulerConfig::new(1.0, 0.5, 10).with_warmup_steps(0);
        let mut scheduler = config.init();
        let lrs: Vec<f64> = (0..11).map(|_| scheduler.step()).collect();
        let expected = [1.0, 0.9, 0.8, 0.7, 0.6, 0.25, 0.2, 0.15, 0.1, 0.05, 0.0];
        for (lr, expected) in lrs.iter().zip(expected) {
            assert!((lr - expected).abs() < 1e-15, "{lrs:?}");
        }
    }

    #[test]
    fn a_scheduler_goes_on_from_its_record() {
        let mut scheduler = config().init();
        for _ in 0..690 {
            scheduler.step();
        }
        let bytes = scheduler.to_record().into_bytes().unwrap();
        let mut restored = config().init();
        restored.load_record(LrSchedulerRecord::from_bytes(bytes).unwrap());
        assert_eq!(restored.step(), config().learning_rate(690));
        assert_eq!(scheduler.step(), config().learning_rate(690));
    }

    #[test]
    #[should_panic(expected = "got 375 of 100 steps")]
    fn a_warm_up_longer_than_the_training_is_refused() {
        TwoStageLrSchedulerConfig::new(1e-3, 1e-4, 100).init();
    }
}
