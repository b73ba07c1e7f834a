use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use burn::{
    lr_scheduler::{LrScheduler, LrSchedulerRecord, module_lr_scheduler::ModuleLrScheduler},
    module::ParamGroup,
    optim::LearningRate,
    tensor::Tensor,
};

use super::WeightDecaySchedule;
use crate::base::bounds::{Bounds, assert_valid};

/// Decoupled weight decay `p <- p (1 - lr * weight_decay)` whose value can change during training.
///
/// Clones share the value: pass one to a [`QatOptimizer`](super::QatOptimizer) and call
/// [`set`](Self::set) on another. The inner optimizer must have no weight decay of its own. The
/// decay is applied before the step: a constant value equals Burn's AdamW, bit for bit.
///
/// Source: [Decoupled Weight Decay Regularization](https://arxiv.org/abs/1711.05101).
#[derive(Debug, Clone)]
pub struct DecoupledWeightDecay {
    bits: Arc<AtomicU32>,
}

impl DecoupledWeightDecay {
    /// Creates a weight decay of the given value.
    ///
    /// # Panics
    ///
    /// If the value is negative or not finite.
    #[track_caller]
    pub fn new(weight_decay: f32) -> Self {
        let decay = Self {
            bits: Arc::new(AtomicU32::new(0)),
        };
        decay.set(weight_decay);
        decay
    }

    /// Returns the current value.
    pub fn get(&self) -> f32 {
        f32::from_bits(self.bits.load(Ordering::Relaxed))
    }

    /// Sets the value of the following steps, in all clones.
    ///
    /// # Panics
    ///
    /// If the value is negative or not finite.
    #[track_caller]
    pub fn set(&self, weight_decay: f32) {
        Bounds::NOT_NEGATIVE.assert("weight decay", weight_decay);
        self.bits.store(weight_decay.to_bits(), Ordering::Relaxed);
    }

    /// Applies the decay to a parameter.
    pub(super) fn apply<const D: usize>(&self, lr: LearningRate, tensor: Tensor<D>) -> Tensor<D> {
        match lr * f64::from(self.get()) {
            0.0 => tensor,
            rate => tensor.mul_scalar(1.0 - rate),
        }
    }
}

/// Scheduler that sets a [`DecoupledWeightDecay`] at each step of the learning rate scheduler.
///
/// Burn's `Learner` steps its [`ModuleLrScheduler`] before each step of the optimizer and stores
/// its record in checkpoints; [`attach`](Self::attach) adds the weight decay to it.
///
/// # Example
///
/// ```
/// use bitnet_burn::optim::{
///     DecoupledWeightDecay, TwoStageLrSchedulerConfig, WeightDecaySchedule, WeightDecayScheduler,
/// };
///
/// let weight_decay = DecoupledWeightDecay::new(0.0);
/// let schedule = WeightDecaySchedule::until_midpoint(0.1, 1000);
/// let mut scheduler = WeightDecayScheduler::new(schedule, &weight_decay)
///     .attach(TwoStageLrSchedulerConfig::new(1.2e-3, 8e-4, 1000).init());
///
/// let lr = scheduler.step();
/// assert_eq!(lr.base(), 1.2e-3 / 375.0);
/// assert_eq!(weight_decay.get(), 0.1);
/// ```
#[derive(Debug, Clone)]
pub struct WeightDecayScheduler {
    schedule: WeightDecaySchedule,
    weight_decay: DecoupledWeightDecay,
    step: usize,
}

impl WeightDecayScheduler {
    /// Sets `weight_decay` by `schedule`, starting at step 0.
    ///
    /// # Panics
    ///
    /// If a value of the schedule is negative or not finite.
    #[track_caller]
    pub fn new(schedule: WeightDecaySchedule, weight_decay: &DecoupledWeightDecay) -> Self {
        assert_valid(schedule.validate());
        Self {
            schedule,
            weight_decay: weight_decay.clone(),
            step: 0,
        }
    }

    /// Returns the learning rate scheduler extended by the weight decay.
    pub fn attach(self, lr: impl Into<ModuleLrScheduler>) -> ModuleLrScheduler {
        // Burn steps and records a scheduler together with its group; this group has no parameters.
        lr.into().with_group(ParamGroup::from_ids(Vec::new()), self)
    }
}

impl LrScheduler for WeightDecayScheduler {
    fn step(&mut self) -> LearningRate {
        let weight_decay = self.schedule.at(self.step);
        self.weight_decay.set(weight_decay);
        self.step += 1;
        weight_decay.into()
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
