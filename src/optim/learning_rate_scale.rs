use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use burn::{
    lr_scheduler::{LrScheduler, LrSchedulerRecord, module_lr_scheduler::ModuleLrScheduler},
    optim::LearningRate,
};

use crate::base::bounds::Bounds;

/// Factor of a learning rate that can change during training.
///
/// Clones share the value: pass one to a [`ScaledLrScheduler`] and call [`set`](Self::set) on
/// another.
///
/// # Example
///
/// ```
/// use bitnet_burn::optim::{LearningRateScale, ScaledLrScheduler};
/// use burn::lr_scheduler::{LrScheduler, constant::ConstantLr};
///
/// let scale = LearningRateScale::default();
/// let mut scheduler = ScaledLrScheduler::new(ConstantLr::new(1e-3), &scale);
/// assert_eq!(scheduler.step(), 1e-3);
/// scale.set(0.5);
/// assert_eq!(scheduler.step(), 5e-4);
/// ```
#[derive(Debug, Clone)]
pub struct LearningRateScale(Arc<AtomicU64>);

impl Default for LearningRateScale {
    /// Returns the factor 1.
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(1f64.to_bits())))
    }
}

impl LearningRateScale {
    /// Returns the current factor.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// Sets the factor of the following steps, in all clones.
    ///
    /// # Panics
    ///
    /// If it is not above 0 and finite.
    #[track_caller]
    pub fn set(&self, scale: f64) {
        Bounds::POSITIVE.assert("the scale of a learning rate", scale);
        self.0.store(scale.to_bits(), Ordering::Relaxed);
    }
}

/// Scheduler whose learning rate is multiplied by a [`LearningRateScale`]. The factor is part of
/// its record.
///
/// Has one rate for all parameters: of a scheduler with parameter groups it takes the rate of the
/// first. For several groups, scale the scheduler of each.
#[derive(Clone)]
pub struct ScaledLrScheduler {
    scheduler: ModuleLrScheduler,
    scale: LearningRateScale,
}

impl ScaledLrScheduler {
    /// Creates a scheduler that multiplies the learning rate of another by the factor.
    pub fn new(scheduler: impl Into<ModuleLrScheduler>, scale: &LearningRateScale) -> Self {
        Self {
            scheduler: scheduler.into(),
            scale: scale.clone(),
        }
    }
}

impl LrScheduler for ScaledLrScheduler {
    fn step(&mut self) -> LearningRate {
        self.scheduler.step().base() * self.scale.get()
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::new()
            .with_scalar("scale", self.scale.get())
            .with_record("scheduler", self.scheduler.to_record())
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        if let Some(scale) = record.scalar("scale") {
            self.scale.set(scale);
        }
        let inner = self.scheduler.clone();
        self.scheduler = inner.load_record(record.record("scheduler"));
    }
}
